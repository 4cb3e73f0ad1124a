//! Inheritance of a daemon from the client that starts it, and traces of the start in that client.

use crate::harness::{Bench, PROBE, Running, assert_state, await_that, result, served_by};
use running_process_acceptance::installed;
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Returns the value of a line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap().to_owned()
}

/// Returns fields of `/proc/PID/stat` by their number in `proc_pid_stat(5)`.
fn stat<const N: usize>(pid: u32, fields: [usize; N]) -> [i64; N] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields.map(|field| after_name[field - 3].parse().unwrap())
}

/// Returns the children of a process, zombies included.
fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|child| parent(child) == Some(pid)).collect()
}

/// Returns the open descriptors of a process.
fn descriptors(pid: u32) -> BTreeMap<u32, PathBuf> {
    let directory = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let entries = directory.map(|entry| entry.unwrap());
    let open = entries.map(|entry| (entry.file_name(), fs::read_link(entry.path()).unwrap()));
    open.map(|(number, target)| (number.to_str().unwrap().parse().unwrap(), target)).collect()
}

/// Returns the environment of a process.
fn environment(pid: u32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let variables = bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let variable = |variable: &[u8]| {
        let text = String::from_utf8(variable.to_vec()).unwrap();
        let (name, value) = text.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    variables.map(variable).collect()
}

/// Returns the client behind a shell that does `before` first.
fn behind_shell(before: &str, client: &Command) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!(r#"{before}; exec "$0" "$@""#)]).arg(client.get_program());
    command.args(client.get_args()).stdin(Stdio::null());
    for (name, value) in client.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

/// A daemon that is still starting, so that all it has is what it got. It ends with its bench.
struct Starting {
    bench: Bench,
    pid: u32,
    starter: Running,
}

impl Starting {
    fn behind(before: &str, words: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let bench = Bench::new();
        let mut client = behind_shell(before, &bench.client("ensure", words, "hang"));
        change(&mut client);
        let starter = Running::start(&mut client);
        let pid = bench.await_event("start", 1);
        // Its own file is open for a moment after that.
        await_that("closed file of events", || !descriptors(pid).contains_key(&4));
        Self { bench, pid, starter }
    }
}

#[test]
fn a_daemon_gets_no_descriptor_of_its_client_but_the_lock() {
    let started = Starting::behind("exec 4</etc/passwd 5>&1 7</ 9<>/dev/zero", &[], |_| ());
    let place = started.bench.place();
    let expected = [
        (0, PathBuf::from("/dev/null")),
        (1, place.join("log")),
        (2, place.join("log")),
        (3, place.join("lock")),
    ];
    assert_eq!(descriptors(started.pid), BTreeMap::from(expected));
}

#[test]
fn a_daemon_has_a_session_a_mask_signals_and_a_directory_that_its_client_does_not_choose() {
    let before = "umask 077; cd /tmp; trap '' HUP INT TERM CHLD USR1 PIPE";
    let started = Starting::behind(before, &[], |_| ());
    let pid = started.pid;
    let [parent, group, session, terminal] = stat(pid, [4, 5, 6, 7]);
    let own = i64::from(pid);
    assert_eq!((group, session, terminal), (own, own, 0));
    assert_ne!(parent, i64::from(started.starter.child.id()));
    assert_eq!(status(pid, "Umask"), "0022");
    assert_eq!(status(pid, "SigBlk"), "0000000000000000");
    // Rust programs ignore SIGPIPE, signal 13, by themselves.
    assert_eq!(status(pid, "SigIgn"), "0000000000001000");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), PathBuf::from("/"));

    let started = Starting::behind("cd /usr", &["directory=/tmp"], |_| ());
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", started.pid)).unwrap(), PathBuf::from("/tmp"));
}

#[test]
fn a_directory_that_is_not_there_fails_the_start_with_its_cause() {
    let bench = Bench::new();
    let refused = bench.ensure(&["directory=/no/such/directory"], "serve");
    assert_eq!(refused["error"], "StartFailed", "{refused:#}");
    assert!(refused["text"].as_str().unwrap().contains("directory"), "{refused:#}");
    assert_eq!(bench.events("start"), 0);
}

/// Returns the variables that the library itself gives to each daemon of a bench.
fn own_variables(bench: &Bench) -> BTreeMap<String, String> {
    let variables = [
        ("RUNNING_PROCESS_SERVICE", "svc".to_owned()),
        ("RUNNING_PROCESS_SERVICE_ROOT", bench.root().to_str().unwrap().to_owned()),
        ("RUNNING_PROCESS_LOCK", "3".to_owned()),
        ("NOTIFY_SOCKET", bench.place().join("notify").to_str().unwrap().to_owned()),
        ("XDG_CACHE_HOME", bench.path("cache").to_str().unwrap().to_owned()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

#[test]
fn the_environment_of_a_daemon_is_the_user_s_and_not_the_client_s() {
    let started = Starting::behind(":", &[], |client| {
        client.env_clear();
        client
            .env("HOME", "/nonexistent")
            .env("USER", "other")
            .env("PATH", "/opt/bin")
            .env("TMPDIR", "/nowhere");
        client.env("LD_LIBRARY_PATH", "/opt/lib").env("LISTEN_FDS", "1").env("NOTIFY_SOCKET", "/run/other");
        client.env("LANG", "C.UTF-8").env("TZ", "Asia/Tokyo").env("RUNNING_PROCESS_KEY", "stray");
    });
    let user = rustix::process::getuid().as_raw().to_string();
    let entry = Command::new("getent").args(["passwd", &user]).output().unwrap();
    let entry = String::from_utf8(entry.stdout).unwrap();
    let entry: Vec<_> = entry.trim_end().split(':').collect();
    let mut expected = own_variables(&started.bench);
    let of_user = [
        ("HOME", entry[5]),
        ("USER", entry[0]),
        ("LOGNAME", entry[0]),
        ("SHELL", entry[6]),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LANG", "C.UTF-8"),
        ("TZ", "Asia/Tokyo"),
    ];
    expected.extend(of_user.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(environment(started.pid), expected);
}

#[test]
fn the_environment_of_a_client_is_passed_on_request_without_its_relations() {
    let started = Starting::behind(":", &["inherit=1"], |client| {
        client.env_clear();
        client.env("HOME", "/nonexistent").env("FOO", "bar").env("PATH", "/opt/bin:/bin");
        client.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("NOTIFY_SOCKET", "/run/other");
        client.env("RUNNING_PROCESS_KEY", "stray").env("RUNNING_PROCESS_LOCK", "9");
    });
    let mut expected = own_variables(&started.bench);
    let passed = [("HOME", "/nonexistent"), ("FOO", "bar"), ("PATH", "/opt/bin:/bin")];
    expected.extend(passed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut found = environment(started.pid);
    // Shells set it.
    found.remove("PWD");
    assert_eq!(found, expected);
}

#[test]
fn a_daemon_outlives_its_client_and_the_terminal_of_that() {
    if !installed("script", &["--version"]) {
        return;
    }
    let bench = Bench::new();
    let client = bench.client("ensure", &[], "serve");
    let words = std::iter::once(client.get_program()).chain(client.get_args());
    let line: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let line = format!("{} && tty", line.join(" "));
    let output =
        Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("/dev/pts/"), "the client had a terminal: {said}");
    let daemon = bench.await_event("ready", 1);
    assert_state(&bench.find(), "live", Some(daemon));
    assert_eq!(bench.served(&[], "serve"), daemon);
    assert_eq!(bench.events("end"), 0);
}

#[test]
fn a_daemon_outlives_the_process_group_and_the_session_of_its_client() {
    let bench = Bench::new();
    let mut client = bench.client("ensure", &["stays=1"], "serve");
    let mut client = Running::start(client.stdin(Stdio::piped()).process_group(0));
    let daemon = served_by(&client.first_result());
    let group = rustix::process::Pid::from_child(&client.child);
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    client.kill();
    assert_eq!(bench.served(&[], "serve"), daemon);
}

#[test]
fn a_client_that_lives_on_has_no_child_and_no_zombie() {
    let bench = Bench::new();
    let mut client = bench.client("ensure", &["stays=1"], "serve");
    let mut client = Running::start(client.stdin(Stdio::piped()));
    let daemon = served_by(&client.first_result());
    assert!(children(client.child.id()).is_empty());
    bench.signal(daemon, Signal::KILL);
    assert!(children(client.child.id()).is_empty());

    // Nor after a start that failed.
    let mut client = bench.client("ensure", &["stays=1"], "exit:3");
    let mut client = Running::start(client.stdin(Stdio::piped()));
    assert_eq!(client.first_result()["error"], "StartFailed");
    assert!(children(client.child.id()).is_empty());
}

#[test]
fn the_other_children_of_a_client_are_its_own() {
    for plan in ["serve", "exit:3"] {
        let bench = Bench::new();
        let ensured = bench.ensure(&["child=1"], plan);
        assert_eq!(ensured["reaped"], json!([ensured["own_child"]]), "{ensured:#}");
        if plan == "serve" {
            served_by(&ensured);
        } else {
            assert_eq!(ensured["failure"]["end"], "Exited { status: 3 }", "{ensured:#}");
        }
    }
}

#[test]
fn a_client_that_ignores_the_end_of_its_children_gets_the_same_result() {
    let bench = Bench::new();
    let client = bench.client("ensure", &[], "exit:3,serve");
    let ensure = || result(&mut behind_shell("trap '' CHLD", &client));
    assert_eq!(ensure()["failure"]["end"], "Exited { status: 3 }");
    served_by(&ensure());
}

#[test]
fn the_log_has_the_output_of_all_starts_and_is_the_user_s_alone() {
    let bench = Bench::new();
    bench.ensure(&[], "exit:3,abort,serve");
    bench.ensure(&[], "exit:3,abort,serve");
    bench.served(&[], "exit:3,abort,serve");
    let log = bench.place().join("log");
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text, "the first line\nno such port\nassertion failed\n");
    assert_eq!(log.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_log_over_its_limit_becomes_the_older_one_at_the_next_start() {
    let bench = Bench::new();
    let daemon = bench.served(&["log_limit=100000"], "flood:1,serve");
    bench.assert_stopped(daemon);
    bench.served(&["log_limit=100000"], "flood:1,serve");
    let (log, older) = (bench.place().join("log"), bench.place().join("log.1"));
    assert!(older.metadata().unwrap().len() >= 50_000);
    assert!(log.metadata().unwrap().len() < 1000, "{PROBE}");
}
