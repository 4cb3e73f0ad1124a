//! Daemons that a service manager starts when a client connects to its socket.

mod manager;

use crate::harness::{Bench, Crowd, Running, assert_state, await_that, served_by};
use crate::stampede::TURN;
use manager::{Manager, install, service, variables};
use running_process::Service;
use running_process::broker::backend_lifecycle::verify::Listener;
use running_process::broker::service::{Deadline, ServiceState};
use running_process_acceptance::{installed, soon};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

const CLIENTS: usize = 50;

/// Lets so many clients ask for the daemon at once, and returns the one process that served all of them.
#[track_caller]
fn crowd(bench: &Bench, plan: &str) -> u32 {
    let clients = (0..CLIENTS).map(|number| {
        let words: &[_] = if number % 10 == 0 { &["waits=1", "tokio=1"] } else { &["waits=1"] };
        bench.client("ensure", words, plan)
    });
    let results: Vec<Value> = Crowd::gather(clients).release().into_iter().map(Running::result).collect();
    let by: BTreeSet<u32> = results.iter().map(served_by).collect();
    assert_eq!(by.len(), 1, "{by:?}");
    bench.assert_never_two();
    by.into_iter().next().unwrap()
}

#[test]
fn clients_of_a_service_manager_start_no_daemon_and_all_get_the_one_that_it_starts() {
    let _turn = TURN.lock();
    let bench = Bench::new();
    let manager = Manager::listen(&bench, "serve", &[]);
    let socket = manager.identity();
    assert_state(&bench.find(), "absent", None);
    assert_eq!(bench.events("start"), 0, "a look starts nothing");

    let first = crowd(&bench, "exit:1");
    assert_eq!((bench.daemons(), bench.events("start")), (vec![first], 1));
    let ServiceState::Live(daemon) = service(&bench).find(Deadline::never()).unwrap() else {
        panic!("it is live")
    };
    assert_eq!((daemon.daemon_process.pid, daemon.proof().listener), (first, Listener::Own));
    drop(daemon);

    bench.signal(first, Signal::KILL);
    let second = crowd(&bench, "exit:1");
    assert_ne!(second, first);
    assert_eq!((bench.daemons(), bench.events("start")), (vec![second], 2));

    bench.assert_stopped(second);
    assert_state(&bench.find(), "absent", None);
    let third = crowd(&bench, "exit:1");
    assert_eq!((bench.daemons(), bench.events("start")), (vec![third], 3));
    assert_eq!(manager.identity(), socket, "the socket is the service manager's");
}

#[test]
fn a_daemon_of_a_service_manager_that_is_idle_leaves_its_socket_for_the_next_one() {
    for plan in ["serve", "tokio"] {
        let bench = Bench::new();
        let manager = Manager::listen(&bench, plan, &[("IDLE_MS", "20")]);
        let socket = manager.identity();
        let first = bench.served(&[], "exit:1");
        bench.await_event("end", 1);
        assert_eq!(manager.identity(), socket);
        let second = bench.served(&[], "exit:1");
        assert_ne!(first, second);
        bench.assert_never_two();
    }
}

#[test]
fn where_no_service_manager_listens_clients_start_the_daemon_exactly_once() {
    let _turn = TURN.lock();
    let bench = Bench::new();
    install(&bench);
    let daemon = crowd(&bench, "serve");
    assert_eq!((bench.daemons(), bench.events("start")), (vec![daemon], 1));
}

#[test]
fn a_service_manager_that_takes_the_socket_ends_the_daemon_that_clients_started() {
    let bench = Bench::new();
    let first = bench.served(&[], "serve");
    // While it is stopped: where it sees that its socket is gone, it makes another one, and may be earlier than the manager.
    bench.signal(first, Signal::STOP);
    let _manager = Manager::listen(&bench, "serve", &[]);
    bench.signal(first, Signal::CONT);
    let second = bench.served(&[], "exit:1");
    if second == first {
        // It drains, and the next client gets the next one.
        bench.await_event("end", 1);
    }
    let last = bench.served(&[], "exit:1");
    assert_ne!(last, first);
    await_that("end of the first daemon", || bench.daemons() == [last]);
    bench.assert_never_two();
}

#[test]
fn a_daemon_whose_socket_the_service_manager_has_replaced_ends_for_the_next_one() {
    let bench = Bench::new();
    let former = Manager::listen(&bench, "serve", &[]);
    let first = bench.served(&[], "exit:1");
    drop(former);
    let _manager = Manager::listen(&bench, "serve", &[]);
    bench.await_event("end", 1);
    let second = bench.served(&[], "exit:1");
    assert_ne!(first, second);
    await_that("one daemon", || bench.daemons() == [second]);
    bench.assert_never_two();
}

#[test]
fn a_restart_stops_the_daemon_and_has_the_service_manager_start_the_next_one() {
    for word in ["by=handover", "stop_first=1"] {
        let bench = Bench::new();
        let manager = Manager::listen(&bench, "serve", &[]);
        let socket = manager.identity();
        let first = bench.served(&[], "exit:1");
        let restarted = crate::harness::result(&mut bench.client("restart", &[word], "exit:1"));
        assert!(restarted["error"].is_null(), "{restarted:#}");
        assert_eq!(restarted["former_pid"].as_u64(), Some(first.into()), "{restarted:#}");
        let second = bench.served(&[], "exit:1");
        assert_ne!(first, second);
        assert_eq!((bench.daemons(), bench.events("start")), (vec![second], 2));
        assert_eq!(manager.identity(), socket);

        bench.assert_stopped(second);
        let restarted = crate::harness::result(&mut bench.client("restart", &[word], "exit:1"));
        assert!(restarted["error"].is_null(), "{restarted:#}");
        assert_eq!((bench.daemons().len(), bench.events("start")), (1, 3));
        bench.assert_never_two();
    }
}

#[test]
fn a_client_without_a_command_has_the_service_manager_start_the_daemon() {
    let bench = Bench::new();
    let _manager = Manager::listen(&bench, "serve", &[]);
    let daemon = served_by(&crate::harness::result(&mut bench.bare_client("ensure", &[])));
    assert_eq!(bench.daemons(), [daemon]);
}

#[test]
fn a_client_whose_service_manager_starts_nothing_that_serves_is_told_in_time() {
    let bench = Bench::new();
    let _manager = Manager::listen(&bench, "hang", &[]);
    let ensured = bench.ensure(&["timeout=1500"], "serve");
    assert_eq!(ensured["error"], "TimedOut", "{ensured:#}");
    assert_eq!(ensured["detail"], "systemd (running-process-svc.socket) starts it", "{ensured:#}");
    assert!(ensured["ms"].as_u64().unwrap() >= 1500, "{ensured:#}");
    assert_eq!(bench.events("start"), 1);
}

#[test]
fn a_client_is_told_that_the_daemon_that_the_service_manager_starts_for_it_is_new() {
    let bench = Bench::new();
    let _manager = Manager::listen(&bench, "serve", &[]);
    let is_new = |service: &Service| {
        let started = service.start(soon()).unwrap();
        assert!(started.replaced.is_none(), "{started:?}");
        (started.daemon.daemon_process.pid, started.is_new)
    };
    // The second one has a version and wants a daemon that has one, too, but has no program to start.
    for service in [service(&bench), service(&bench).version("2")] {
        let (daemon, began) = is_new(&service);
        assert!(began);
        assert_eq!(is_new(&service), (daemon, false));
        bench.assert_stopped(daemon);
    }
    assert_eq!(bench.events("start"), 2);
}

#[test]
fn a_client_whose_service_manager_takes_the_socket_while_its_daemon_starts_gets_the_daemon_of_that() {
    let bench = Bench::new();
    let go = bench.path("go");
    let starter = Running::start(&mut bench.client("ensure", &[], &format!("wait:{}", go.display())));
    let first = bench.await_event("start", 1);
    let _manager = Manager::listen(&bench, "serve", &[]);
    fs::write(go, "").unwrap();
    let second = served_by(&starter.result());
    assert_ne!(second, first);
    assert_eq!((bench.await_event("refused", 1), bench.events("start")), (first, 2));
    assert_eq!(bench.daemons(), [second]);
}

#[test]
fn a_client_that_waits_for_its_service_manager_in_vain_gets_the_daemon_of_another_client() {
    let bench = Bench::new();
    let manager = Manager::listen(&bench, "hang", &[]);
    let waits = Running::start(&mut bench.client("ensure", &[], "exit:1"));
    bench.await_event("start", 1);
    // The connection stays, but the service manager has no name any more.
    fs::remove_file(&manager.socket).unwrap();
    let daemon = bench.served(&[], "serve");
    assert_eq!(served_by(&waits.result()), daemon);
}

#[test]
fn a_client_is_told_of_an_orphan_that_keeps_the_lock_from_the_daemon_of_its_service_manager() {
    let bench = Bench::new();
    let daemon = bench.served(&[], "orphan");
    let child = bench.child();
    bench.signal(daemon, Signal::KILL);
    let _manager = Manager::listen(&bench, "hang", &[]);
    let refused = bench.ensure(&[], "exit:1");
    assert_eq!((&refused["error"], &refused["pid"]), (&json!("HeldByOrphan"), &json!(child)), "{refused:#}");
}

#[test]
fn systemd_starts_one_daemon_for_many_clients_and_clients_the_next_one_when_its_socket_is_closed() {
    const TOOL: &str = "systemd-socket-activate";
    let _turn = TURN.lock();
    if !installed(TOOL, &["--version"]) {
        return;
    }
    let bench = Bench::new();
    install(&bench);
    let mut tool = Command::new("sh");
    tool.args(["-c", r#"exec "$0" "$@" 2>&1"#, TOOL, "-l"]).arg(bench.place().join("socket"));
    for (name, value) in variables(&bench) {
        tool.arg("-E").arg(format!("{name}={}", value.display()));
    }
    tool.arg(crate::harness::PROBE).args(bench.daemon_arguments("serve")).stdin(Stdio::null());
    // It becomes the daemon.
    let mut tool = Running::start(&mut tool);
    assert!(tool.line().starts_with("Listening on "));

    let first = crowd(&bench, "exit:1");
    assert_eq!((first, bench.events("start")), (tool.child.id(), 1));
    tool.child.kill().unwrap();
    tool.child.wait().unwrap();
    let second = crowd(&bench, "serve");
    assert_eq!((bench.daemons(), bench.events("start")), (vec![second], 2));
    assert!(service(&bench).activation().unwrap().is_some());
}
