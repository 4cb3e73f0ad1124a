//! Clients that use a service through other parts of the library, and other ways to start its daemon.

use crate::harness::{Bench, PROBE, await_that, result, served_by};
use running_process::ReconnectingClient;
use running_process::Service;
use running_process::broker::backend_sdk::{ConnectFailure, ReconnectConfig, ReconnectError};
use running_process_acceptance::wire::SHOUT;
use rustix::process::Signal;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn service(bench: &Bench) -> Service {
    Service::new("svc")
        .unwrap()
        .below(bench.root())
        .environment_variable("XDG_CACHE_HOME", bench.path("cache"))
        .command(PROBE, bench.daemon_arguments("serve"))
}

#[tokio::test]
async fn a_reconnecting_client_starts_the_daemon_and_the_next_one() {
    let bench = Bench::new();
    let client = ReconnectingClient::for_service(service(&bench), ReconnectConfig::default());
    let mut daemons = Vec::new();
    for signal in [Signal::KILL, Signal::TERM, Signal::KILL] {
        // The client may not have noticed yet that its connection has ended.
        while let Err(error) = client.request(SHOUT, b"hello".to_vec()).await {
            assert!(matches!(error, ReconnectError::Request(_)), "{error}");
        }
        let [daemon] = bench.daemons()[..] else { panic!("one daemon") };
        assert!(!daemons.contains(&daemon), "the last one was ended");
        daemons.push(daemon);
        bench.signal(daemon, signal);
        await_that("end of the daemon", || bench.daemons().is_empty());
    }
}

#[tokio::test]
async fn a_reconnecting_client_tells_why_there_is_no_daemon() {
    let bench = Bench::new();
    let service = service(&bench).command(PROBE, bench.daemon_arguments("exit:3"));
    let client = ReconnectingClient::for_service(service, ReconnectConfig::default());
    let error = client.request(SHOUT, b"hello".to_vec()).await.unwrap_err();
    assert!(!error.may_have_run());
    let ReconnectError::NotConnected { source, .. } = error else { panic!("{error}") };
    let ConnectFailure::Service(cause) = &*source else { panic!("{source}") };
    assert!(cause.to_string().contains("status 3"), "{cause}");
}

#[test]
fn the_handlers_of_a_service_can_serve_in_the_clients_own_process() {
    let bench = Bench::new();
    let in_process = service(&bench)
        .in_process(|server| server.serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase())))
        .unwrap();
    for _ in 0..2 {
        let mut client = in_process.client().unwrap();
        client.set_timeout(Some(Duration::from_secs(10)));
        assert_eq!(client.request(SHOUT, b"hello".to_vec()).unwrap().payload, b"HELLO");
    }
    assert!(bench.daemons().is_empty());
    assert!(!bench.root().exists(), "no file was made");
}

#[test]
fn a_daemon_is_started_in_a_scope_by_systemd_run() {
    let bench = Bench::new();
    let (programs, recorded) = (bench.path("programs"), bench.path("recorded"));
    fs::create_dir(&programs).unwrap();
    let run = programs.join("systemd-run");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$XDG_RUNTIME_DIR\" \"$@\" > {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n",
        recorded.display()
    );
    fs::write(&run, script).unwrap();
    fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
    let mut client = bench.client("ensure", &["scope=1"], "serve");
    let daemon = served_by(&result(client.env("PATH", &programs)));
    let runtime = format!("/run/user/{}", rustix::process::geteuid().as_raw());
    let recorded = fs::read_to_string(recorded).unwrap();
    let begin = [&runtime, "--user", "--scope", "--quiet", "--collect", "--", PROBE, "daemon"];
    assert_eq!(recorded.lines().take(begin.len()).collect::<Vec<_>>(), begin);
    bench.assert_stopped(daemon);

    let nowhere = bench.path("nowhere");
    let mut client = bench.client("ensure", &["scope=1"], "serve");
    let refused = result(client.env("PATH", &nowhere));
    assert_eq!(refused["error"], json!("NoProgram"), "{refused:#}");
    assert!(refused["text"].as_str().unwrap().contains("systemd-run"), "{refused:#}");
}
