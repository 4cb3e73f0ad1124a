//! `conform`: our daemons pass, a daemon that breaks a rule does not, and a daemon that was started ends.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::recording::check;
use crate::common::service::signal;
use crate::common::{Daemon, WATCHDOG, collect, command, run, text};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any case takes on a busy machine.
const TIMEOUT: &str = "50s";

/// Returns the example that serves the conformance protocol.
fn example() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_running-process")).with_file_name("examples/conformance");
    assert!(path.exists(), "{} is missing: build it with `cargo test --workspace`", path.display());
    path
}

/// Returns whether the process runs; one that has ended and was not awaited does not.
fn is_running(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|state| !state.rsplit(") ").next().unwrap().starts_with(['Z', 'X']))
}

/// Waits until the process, which was killed, has ended.
fn wait_ended(pid: &str) {
    let deadline = Instant::now() + WATCHDOG;
    while is_running(pid) {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_servers_of_this_library_pass_every_case() {
    let example = example();
    for driver in [&[][..], &["--tokio"]] {
        let mut words = vec!["conform", "--timeout", TIMEOUT, "--json", "--", text(&example)];
        words.extend(driver);
        let judged = run(&[&words[..], &["{socket}", "{identity}"]].concat());
        let objects = judged.objects();
        let not_passed: Vec<&Value> = objects
            .iter()
            .filter(|object| object["event"] == "case" && object["outcome"] != "passed")
            .collect();
        assert!(not_passed.is_empty(), "{driver:?}: {not_passed:#?}");
        let end = objects.last().unwrap();
        assert_eq!((judged.status, &end["verdict"]), (0, &"yes".into()), "{driver:?}: {end:#}");
        assert_eq!(end["passed"], objects.len() - 1);
    }
}

#[test]
fn a_daemon_without_the_conformance_protocol_is_judged_by_the_cases_that_do_not_need_it() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let judge = ["conform", "--timeout", TIMEOUT, "--socket", text(&socket)];
    let judged = run(&judge);
    let skipped = "skipped (the daemon does not serve the conformance protocol 0xF0C0)";
    assert!(judged.status == 0 && judged.text().contains(skipped), "{judged:?}");
    // Naming the protocol promises that the daemon serves it.
    let judged = run(&[&judge[..], &["--only", "framing-one-write", "--protocol", "0xF0C0"]].concat());
    assert!(judged.status == 1 && judged.text().contains("a refusal of request 1"), "{judged:?}");
}

#[test]
fn a_failed_case_is_shown_with_its_bytes_and_reported_to_ci() {
    let daemon = Daemon::start();
    let (socket, directory) = (daemon.socket(), tempfile::tempdir().unwrap());
    let (report, known) = (directory.path().join("report.xml"), directory.path().join("known.toml"));
    // The cache answers requests of its protocol, and not those of the conformance protocol.
    let judge = ["conform", "--socket", text(&socket), "--protocol", "0xF0CA", "--only", "framing-one-write"];
    let judge = [&judge[..], &["--only", "probe-answered", "--verbose", "--junit", text(&report)]].concat();
    let judged = run(&judge);
    assert_eq!(judged.status, 1, "{judged:?}");
    for words in [
        "FAILED  framing-one-write",
        "  expected: a response under 0xF0CA with the id 1 and 5 bytes, b\"whole\"",
        "  got: a response under 0xF0CA with the id 1 and ",
        "  connection 1, sent: 25 bytes\n",
        "4 payload               \"echo whole\"",
        "  connection 1, received: ",
        "does not conform: of 2 cases, 1 passed, 1 failed that must pass",
    ] {
        assert!(judged.text().contains(words), "{words:?} is not in {}", judged.text());
    }
    let xml = std::fs::read_to_string(&report).unwrap();
    let suite =
        "<testsuite name=\"running-process conform\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\" ";
    assert!(xml.contains(suite), "{xml}");
    assert!(xml.contains("<testcase classname=\"conform.framing\" name=\"framing-one-write\" "), "{xml}");
    assert!(xml.contains("<failure message=\"A frame may arrive in one write. Expected: "), "{xml}");

    std::fs::write(&known, "framing-one-write = 'another protocol'\nprobe-answered = 'a slip'").unwrap();
    let judged = run(&[&judge[..], &["--expect", text(&known)]].concat());
    assert_eq!(judged.status, 0, "{judged:?}");
    assert!(judged.text().contains("known   framing-one-write"), "{judged:?}");
    let outdated = "probe-answered: passed, and is listed as known to fail: a slip";
    assert!(judged.text().contains(outdated), "{judged:?}");
    let xml = std::fs::read_to_string(&report).unwrap();
    assert!(xml.contains("failures=\"0\"") && xml.contains("<skipped message=\"known: another protocol\"/>"));

    std::fs::write(&known, "framing-one-rite = 'a slip'").unwrap();
    let judged = run(&[&judge[..], &["--expect", text(&known)]].concat());
    judged.fails_with(2, &["--expect", "no case is called framing-one-rite"]);
    run(&[&judge[..], &["--skip", "probes-*"]].concat())
        .fails_with(2, &["no case is called like \"probes-*\""]);
}

#[test]
fn the_daemon_that_was_started_ends_with_its_children() {
    let (example, directory) = (example(), tempfile::tempdir().unwrap());
    let pids = directory.path().join("pids");
    // The daemon learns its socket from its environment, and has a child that ignores the request to end.
    let script = format!(
        "sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $! $$ > {}; \
         exec {} \"$RUNNING_PROCESS_CONFORM_SOCKET\" \"$RUNNING_PROCESS_CONFORM_IDENTITY\"",
        text(&pids),
        text(&example)
    );
    let judge = ["conform", "--timeout", TIMEOUT, "--only", "probe-answered", "--", "sh", "-c", &script];
    let judged = run(&judge);
    assert_eq!(judged.status, 0, "{judged:?}");
    let pids = std::fs::read_to_string(pids).unwrap();
    pids.split_whitespace().for_each(wait_ended);
}

#[test]
fn a_daemon_that_does_not_start_is_no_verdict_and_is_shown() {
    run(&["conform", "--", "/nonexistent/daemon"]).fails_with(2, &["/nonexistent/daemon cannot be run"]);
    let ends = ["conform", "--timeout", TIMEOUT, "--", "sh", "-c", "echo no disk; exit 3"];
    run(&ends).fails_with(2, &["the daemon ended (exit status: 3) before it served", "it printed: no disk"]);
    let silent = ["conform", "--timeout", "50ms", "--", "sleep", "1000"];
    run(&silent).fails_with(2, &["the daemon does not accept connections at ", "after 50ms", "{socket}"]);
    let missing = ["conform", "--socket", "/nonexistent/socket"];
    run(&missing).fails_with(2, &["no daemon accepts connections at /nonexistent/socket"]);
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let taken = ["conform", "--socket", text(&socket), "--", "sleep", "1000"];
    run(&taken).fails_with(2, &["a daemon already serves "]);
}

#[test]
fn an_interrupted_command_ends_its_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", text(&file));
    let mut judge: Command = command();
    judge.args(["conform", "--timeout", TIMEOUT, "--", "sh", "-c", &script]);
    let judge = judge.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + WATCHDOG;
    while !file.exists() {
        assert!(Instant::now() < deadline, "the daemon was not started");
        thread::sleep(Duration::from_millis(5));
    }
    signal("INT", judge.id());
    let judged = collect(judge);
    assert_eq!(judged.status, 130, "{judged:?}");
    wait_ended(std::fs::read_to_string(file).unwrap().trim());
}

#[test]
fn the_recorded_list_of_cases_is_that_of_the_command() {
    const HEADING: &str = "\n## Cases\n";
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (text, table) = page.split_once(HEADING).unwrap();
    // The targets of the page's links follow the table.
    let links = table.split_once("\n\n[").map_or(String::new(), |(_, links)| format!("\n[{links}"));
    let mut page =
        format!("{text}{HEADING}\n| case | severity | needs | rule |\n| --- | --- | --- | --- |\n");
    for case in run(&["conform", "--list", "--json"]).objects() {
        let word = |field: &str| case[field].as_str().unwrap();
        let needs: Vec<&str> =
            case["needs"].as_array().unwrap().iter().map(|need| need.as_str().unwrap()).collect();
        let (name, severity, rule) = (word("name"), word("severity"), word("rule"));
        writeln!(page, "| `{name}` | {severity} | {} | {rule} |", needs.join(", ")).unwrap();
    }
    check("docs/conformance.md", &(page + &links));
}
