//! The command on Windows, whose local endpoints are named pipes.
#![cfg(windows)]

use crate::common::{Daemon, run, run_with_input, text};

#[test]
fn a_daemon_on_a_pipe_is_named_by_the_kernel_and_serves() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let probe = run(&["probe", text(&identity_file)]);
    assert_eq!(probe.status, 0, "{probe:?}");
    for (verdict, step) in
        [("proven", "process"), ("proven", "listener"), ("unchecked", "writer"), ("proven", "alive")]
    {
        let row = format!("\n  {verdict:<10}{step:<14} ");
        assert!(probe.text().contains(&row), "{step}: {probe:?}");
    }
    assert!(probe.text().contains("named by the kernel"), "{probe:?}");
    let call = |payload: &str| run(&["call", text(&identity_file), "--protocol", "0xF0CA", payload]);
    assert_eq!(call("SET greeting hello").stdout, b"+OK\r\n");
    let piped = run_with_input(&["call", text(&identity_file), "--protocol", "0xF0CA"], b"GET greeting");
    assert_eq!(piped.stdout, b"$5\r\nhello\r\n");
}

#[test]
fn the_strict_policy_names_the_proof_that_windows_cannot_give() {
    let daemon = Daemon::start();
    let strict = run(&["probe", text(&daemon.identity_file()), "--policy", "strict"]);
    strict.fails_with(2, &["named by the kernel, the policy asks for held", "hint:"]);
}

#[test]
fn a_daemon_that_was_killed_gives_status_one() {
    let mut daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    daemon.child.kill().expect("the daemon can be killed");
    daemon.child.wait().expect("the daemon ends");
    let probe = run(&["probe", text(&identity_file)]);
    assert_eq!(probe.status, 1, "{probe:?}");
}
