//! Starts that fail or hang, replacements, and a daemon that drains.

use super::machine::{Machine, arguments, pid_of};
use crate::common::service::{await_that, ends};
use running_process::{Server, Service};
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use std::sync::mpsc;

/// Returns the name of the service's state.
fn state(machine: &Machine) -> Value {
    let status = machine.services.run(&["status", "--json", "--file", &machine.file()]);
    status.objects()[0]["state"].clone()
}

#[test]
fn a_start_that_failed_and_a_crash_loop_show_the_end_of_the_log() {
    let machine = Machine::new();
    let file = machine.script(
        "echo no database >&2; test -e \"$1.mended\" && exec \"$0\" serve --service \"$1\"; exit 3",
        "",
    );
    let start = || machine.services.run(&["start", "--file", &file]);
    assert_eq!(start().status, 1);
    let finding = machine.finds("start_failed");
    assert_eq!(finding["log"], "no database");
    assert!(finding["what"].as_str().unwrap().contains("status 3"), "{finding}");
    assert_eq!((start().status, start().status), (1, 1));
    let finding = machine.finds("crash_loop");
    assert_eq!(finding["log"], "no database");
    let expected = "no database (the daemon exited with status 3 before it served); 3 starts in a row have failed, and none begins before 2";
    assert!(finding["what"].as_str().unwrap().starts_with(expected), "{finding}");
    machine.lacks("start_failed");
    // The cause is corrected, and the pause is over.
    fs::write(format!("{file}.mended"), "").unwrap();
    await_that("end of the pause", || state(&machine) != "backing_off");
    let finding = machine.finds("crash_loop");
    assert!(finding["what"].as_str().unwrap().ends_with("starts are not paused now"), "{finding}");
    machine.follow(&finding);
    machine.lacks("crash_loop");
    assert_eq!(machine.services.run(&["stop", "--file", &file]).status, 0);
    machine.lacks("crash_loop");
}

#[test]
fn a_daemon_that_hangs_at_its_start_is_told_once_nobody_waits_for_it() {
    let machine = Machine::new();
    let file = machine.script("exec sleep 600", "");
    let mut client = machine
        .services
        .command(&["start", "--file", &file])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let starts = || fs::read_to_string(machine.place("starts.json")).unwrap_or_default();
    await_that("start", || {
        starts().contains("\"process_start_time\": ") && !starts().contains("\"pid\": null")
    });
    let finding = machine.finds("starting");
    assert_eq!(pid_of(&finding), client.id());
    assert_eq!(finding["severity"], "note");
    client.kill().unwrap();
    client.wait().unwrap();
    let finding = machine.finds("start_hangs");
    let pid = pid_of(&finding);
    assert_eq!(arguments(pid), "sleep 600 ");
    machine.follow(&finding);
    ends(pid);
    machine.lacks("start_hangs");
}

#[test]
fn a_daemon_that_drains_is_a_note() {
    let machine = Machine::new();
    machine.cache("");
    let service = Service::new(&machine.name).unwrap().below(machine.services.root());
    let (begun, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let server = Server::for_service(&service).unwrap().serve(0xF00D, move |request| {
        begun.send(()).unwrap();
        may_go.lock().unwrap().recv().unwrap();
        Ok(request.payload().to_vec())
    });
    let stop = server.stop_handle();
    let (ready, is_ready) = mpsc::channel();
    let server = server.on_ready(move |_| ready.send(()).unwrap());
    let server = std::thread::spawn(move || server.run());
    is_ready.recv_timeout(crate::common::WATCHDOG).unwrap();
    let daemon = service.find(std::time::Instant::now() + crate::common::WATCHDOG).unwrap();
    let running_process::broker::service::ServiceState::Live(daemon) = daemon else { panic!("{daemon:?}") };
    let mut client = daemon.into_client();
    let client = std::thread::spawn(move || client.request(0xF00D, b"x".to_vec()).unwrap().payload);
    has_begun.recv_timeout(crate::common::WATCHDOG).unwrap();
    stop.stop();
    // Its socket is removed a moment after it says so.
    await_that("drain", || state(&machine) == "draining" && !machine.place("socket").exists());
    let finding = machine.finds("draining");
    assert_eq!((pid_of(&finding), &finding["severity"]), (std::process::id(), &"note".into()));
    go.send(()).unwrap();
    assert_eq!(client.join().unwrap(), b"x");
    server.join().unwrap().unwrap();
}

#[test]
fn a_replacement_without_its_coordinator_is_named() {
    let machine = Machine::new();
    let file = machine.script(
        r#"test "$RUNNING_PROCESS_HANDOVER" = 1 && exec sleep 600; exec "$0" serve --service "$1""#,
        "",
    );
    let daemon = machine.services.start(&file);
    let mut restart = machine
        .services
        .command(&["restart", "--file", &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let noted = || fs::read_to_string(machine.place("replacing")).unwrap_or_default();
    let runs_sleep = || {
        let pid = noted().split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
        })
    };
    await_that("successor", runs_sleep);
    machine.lacks("abandoned_replacement");
    restart.kill().unwrap();
    restart.wait().unwrap();
    let finding = machine.finds("abandoned_replacement");
    let successor = pid_of(&finding);
    assert_ne!(successor, daemon);
    assert_eq!(arguments(successor), "sleep 600 ");
    machine.follow(&finding);
    machine.lacks("abandoned_replacement");
}

#[test]
fn a_child_that_keeps_the_lock_of_a_replacement_is_named() {
    let machine = Machine::new();
    let script = r#"if test "$RUNNING_PROCESS_HANDOVER" = 1; then sleep 600 & exit 1; fi; exec "$0" serve --service "$1""#;
    let file = machine.script(script, "");
    machine.services.start(&file);
    assert_eq!(machine.services.run(&["restart", "--file", &file]).status, 1);
    let finding = machine.finds("held_by_orphan");
    assert_eq!(arguments(pid_of(&finding)), "sleep 600 ");
    machine.follow(&finding);
    ends(pid_of(&finding));
    machine.lacks("held_by_orphan");
}
