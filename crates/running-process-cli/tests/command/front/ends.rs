//! The ends of fronts, of the daemons behind them, and of clients.

use super::{ECHO, Front, identity, installed};
use crate::common::service::{await_that, ends, pid, signal};
use std::io::{Read, Write};

/// A daemon that ignores the request to end.
const STUBBORN: &str = r#"['sh', '-c', 'trap "" TERM; socat UNIX-LISTEN:SOCKET,fork EXEC:cat; sleep 60']"#;

#[test]
fn a_stop_ends_both() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let stopped = front.services.json(0, &["stop", "--file", &front.file]);
    assert_eq!(stopped["outcome"], "ended");
    ends(front.fronted);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(front.services.json(1, &["status", "--file", &front.file])["state"], "absent");
}

#[test]
fn a_daemon_that_does_not_end_when_asked_is_killed_before_the_next_one_starts() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(STUBBORN);
    front.services.json(0, &["stop", "--file", &front.file]);
    ends(front.fronted);
    // The process that it has started and that listens is gone as well.
    front.services.json(0, &["start", "--file", &front.file]);
}

#[test]
fn if_the_daemon_ends_clients_see_the_end_and_the_next_start_starts_both() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    signal("KILL", front.fronted);
    ends(front.pid);
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    let told = format!("because: the fronted daemon, process {}, ended: signal: 9 (SIGKILL)", front.fronted);
    front.logs(&told);
    let again = front.services.json(0, &["start", "--file", &front.file]);
    assert_ne!(pid(&again), front.pid);
    assert_ne!(pid(&identity(&front.services)["fronts"]), front.fronted);
}

#[test]
fn if_the_front_is_killed_the_daemon_ends_and_the_next_start_starts_both() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    signal("KILL", front.pid);
    ends(front.fronted);
    front.services.json(0, &["start", "--file", &front.file]);
    assert_ne!(pid(&identity(&front.services)["fronts"]), front.fronted);
}

#[test]
fn a_restart_replaces_both() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    let restarted = front.services.json_lines(0, &["restart", "--file", &front.file]);
    let last = restarted.last().unwrap();
    assert_eq!((&last["by"], &last["former_pid"]), (&"stop_then_start".into(), &front.pid.into()));
    ends(front.pid);
    ends(front.fronted);
    assert_eq!(front.services.json(0, &["status", "--file", &front.file])["state"], "live");
}

#[test]
fn an_idle_front_ends_with_its_daemon() {
    if !installed(&["socat"]) {
        return;
    }
    let services = crate::common::service::Services::new();
    let socket = super::upstream(&services);
    let command = ECHO.replace("SOCKET", crate::common::text(&socket));
    let content =
        format!("idle_timeout = '1s'\n[front]\ncommand = {command}\nconnect = 'unix:{}'", socket.display());
    let file = services.file("fronted", &content);
    let front = Front::start(services, file);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);
    ends(front.pid);
    ends(front.fronted);
}

#[test]
fn a_client_that_is_gone_costs_no_connection() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    for _ in 0..20 {
        let mut client = front.connect();
        // It does not read what comes back.
        client.write_all(&vec![7; 100_000]).unwrap();
    }
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", front.pid)).unwrap().count();
    await_that("end of the connections", || descriptors() <= 100);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
}
