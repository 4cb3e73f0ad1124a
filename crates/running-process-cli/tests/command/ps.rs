//! The list of all services.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::Daemon;
use crate::common::service::{Services, pid};
use crate::common::terminal::Terminal;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn every_service_is_listed_whatever_its_state() {
    let services = Services::new();
    let nothing = services.run(&["ps"]);
    assert_eq!((nothing.status, nothing.text()), (0, "no services\n"));
    services.configure_cache("absent", "");
    services.configure_cache("live", "version = '1.2.0'");
    let started = services.json(0, &["start", "live"]);
    let elsewhere = services.start(&services.cache("elsewhere", ""));
    services.configure("wrong", "nme = 'x'");

    let rows = services.json_lines(2, &["ps"]);
    let labels: Vec<_> =
        rows.iter().map(|row| (row["label"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
    assert_eq!(
        labels,
        [("elsewhere", "live"), ("live", "live"), ("wrong", "unusable"), ("absent", "absent")]
    );
    let live = &rows[1];
    assert_eq!((pid(&rows[0]), pid(live)), (elsewhere, pid(&started)));
    assert_eq!((&live["version"], &live["proof"]), (&"1.2.0".into(), &"held".into()));
    assert!(live["connections_open"].is_u64() && live["requests_in_flight"] == 0);
    assert!(live["uptime_ms"].is_u64() && live["memory_bytes"].as_u64() > Some(4096));
    assert_eq!(rows[2]["error"]["kind"], "service_file_invalid");
    assert!(rows[3]["pid"].is_null() && rows[3]["memory_bytes"].is_null());

    let table = services.run(&["ps"]);
    let lines: Vec<_> =
        table.text().lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0][..3], ["NAME", "STATE", "PID"]);
    assert_eq!(lines[2][..4], ["live", "live", &*pid(&started).to_string(), "1.2.0"]);
    assert_eq!(lines[4][..3], ["absent", "absent", "-"]);
    let problem = &table.text().lines().collect::<Vec<_>>()[5..].join("\n");
    assert!(problem.starts_with("wrong: ") && problem.contains("wrong.toml:1:1: unknown key"), "{problem}");
}

#[test]
fn a_daemon_with_a_kept_identity_file_is_listed_as_well() {
    let services = Services::new();
    let identities = services.configuration().with_file_name("identities");
    fs::create_dir_all(&identities).unwrap();
    let mut daemon = Daemon::start();
    fs::copy(daemon.identity_file(), identities.join("kept.json")).unwrap();
    let other = daemon.identity_file_of_another_process();
    fs::copy(other, identities.join("other.json")).unwrap();
    fs::write(identities.join("wrong.json"), "{}").unwrap();
    let first = services.json_lines(2, &["ps"]);
    assert_eq!((pid(&first[0]), &first[0]["requests_in_flight"]), (daemon.child.id(), &0.into()));
    let states = |rows: &[serde_json::Value]| {
        let state = |row: &serde_json::Value| {
            (row["label"].clone(), row["state"].clone(), row["error"]["kind"].clone())
        };
        serde_json::json!(rows.iter().map(state).collect::<Vec<_>>())
    };
    let (other, wrong) = (
        // The process of the test has another start time than the daemon.
        serde_json::json!(["other", "stale", "reused_pid"]),
        serde_json::json!(["wrong", "unusable", "identity_file_unusable"]),
    );
    assert_eq!(states(&first), serde_json::json!([["kept", "live", null], other, wrong]));
    fs::remove_file(identities.join("wrong.json")).unwrap();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert_eq!(states(&services.json_lines(0, &["ps"]))[0], serde_json::json!(["kept", "stale", "gone"]));
}

#[test]
fn services_without_a_daemon_come_last_and_names_are_for_scripts() {
    let services = Services::new();
    for label in ["a", "b", "c d", "$(x)"] {
        services.configure(
            label,
            "name = 'x'\nkey = 'LABEL'\ncommand = ['true']".replace("LABEL", label).as_str(),
        );
    }
    services.configure("wrong", "");
    let labels = |arguments: &[&str]| {
        let rows = services.json_lines(2, arguments);
        rows.iter().map(|row| row["label"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(labels(&["ps"]), ["wrong", "$(x)", "a", "b", "c d"]);
    assert_eq!(services.run(&["ps", "--names"]).text(), "a\nb\nwrong\n");
    assert!(!services.root().exists(), "nothing is made");
}

#[test]
fn each_state_that_is_no_peace_has_its_cause_and_the_command_that_tells_more() {
    let services = Services::new();
    services.configure("failing", "name = 'failing'\ncommand = ['false']");
    let file = services.configure_cache("old", "version = '1.4.0'");
    services.json(1, &["start", "failing"]);
    services.json(0, &["start", "old"]);
    let newer = fs::read_to_string(&file).unwrap().replace("'1.4.0'", "'1.5.0'");
    fs::write(&file, newer).unwrap();
    let list = services.run(&["ps", "-w", "--help"]);
    assert_eq!(list.status, 0, "{list:?}");
    let list = services.run(&["ps"]);
    let notes: Vec<&str> = list.text().lines().skip(3).collect();
    assert!(
        notes[0].starts_with("old: the next start replaces it: version 1.4.0 is older than"),
        "{notes:?}"
    );
    assert_eq!(notes[1], "    running-process restart old");
    assert!(notes[2].starts_with("failing: its last start has failed: "), "{notes:?}");
    assert_eq!(notes[3..], ["    running-process doctor failing"]);
    assert!(list.text().contains("  1.4.0 *  "), "{list:?}");

    let rows = services.json_lines(0, &["ps"]);
    assert_eq!((&rows[0]["is_outdated"], &rows[1]["is_outdated"]), (&true.into(), &false.into()));
    assert!(rows[0]["cause"].as_str().unwrap().starts_with("the next start replaces it"), "{rows:?}");
    assert!(rows[1]["cause"].as_str().unwrap().starts_with("its last start has failed"), "{rows:?}");
    assert_eq!((&rows[0]["start_failure"], &rows[1]["start_failure"]["end"]), (&().into(), &"exited".into()));

    let one = services.run(&["ps", "failing"]);
    assert!(one.text().contains("failing") && !one.text().contains("old"), "{one:?}");
    services.run(&["ps", "failing", "nope"]).fails_with(2, &["no service is called \"nope\""]);
}

#[test]
fn a_narrow_terminal_leaves_columns_out_and_says_so() {
    let services = Services::new();
    services.configure_cache("cache", "");
    services.json(0, &["start", "cache"]);
    let shown = |columns| {
        let mut terminal = Terminal::open(columns, 24);
        let child = terminal.spawn(&mut services.command(&["ps"]));
        assert_eq!(terminal.finish(child), 0);
        terminal.screen.text()
    };
    let titles = "NAME   STATE  PID    VERSION  UPTIME  CONNECTIONS  IN FLIGHT  MEMORY  PROOF";
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(shown(120).lines().next().unwrap()), words(titles));
    let narrow = shown(40);
    assert_eq!(words(narrow.lines().next().unwrap()), ["NAME", "STATE", "PID", "VERSION", "UPTIME"]);
    let notice = "not shown for lack of room: connections,\n  in flight, memory, proof";
    assert!(narrow.ends_with(notice), "{narrow}");
}

#[test]
fn the_list_is_redrawn_in_place_until_ctrl_c() {
    let services = Services::new();
    services.configure_cache("cache", "");
    for columns in [40, 120] {
        let mut terminal = Terminal::open(columns, 6);
        let child = terminal.spawn(&mut services.command(&["ps", "--watch", "--interval", "20ms"]));
        terminal.read_until(|terminal| terminal.screen.text().contains("cache  absent"));
        services.json(0, &["start", "cache"]);
        terminal.read_until(|terminal| terminal.screen.text().contains("cache  live"));
        services.json(0, &["stop", "cache"]);
        terminal.read_until(|terminal| terminal.screen.text().contains("cache  absent"));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(terminal.finish(child), 130);
        assert!(terminal.screen.text().starts_with("NAME"), "{}", terminal.screen.text());
    }
}

#[test]
fn what_does_not_fit_the_terminal_is_counted() {
    let services = Services::new();
    for number in 0..20 {
        services.configure(&format!("s{number:02}"), "name = 'x'\ncommand = ['true']");
    }
    let mut terminal = Terminal::open(80, 10);
    let mut child = terminal.spawn(&mut services.command(&["ps", "--watch"]));
    terminal.read_until(|terminal| {
        terminal.screen.text().ends_with("13 more lines below the end of the terminal")
    });
    let text = terminal.screen.text();
    assert!(text.lines().count() == 9 && text.contains("s06") && !text.contains("s08"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn in_a_pipe_each_look_is_a_list_until_the_reader_is_gone() {
    let services = Services::new();
    services.configure_cache("cache", "");
    let mut command = services.command(&["ps", "--watch", "--interval", "1ms", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut at = || {
        let row: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        row["at_unix_ms"].as_u64().unwrap()
    };
    let first = at();
    while at() == first {}
    drop(lines);
    assert_eq!(crate::common::wait(&mut child), Some(0));
}
