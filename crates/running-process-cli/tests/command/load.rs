//! `load` on a daemon that runs, on one that ends, on one that never answers, and with invalid arguments.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::server::TestServer;
use crate::common::terminal::Terminal;
use crate::common::{Daemon, Finished, WATCHDOG, collect, command, finish, kill, run, run_with_input, text};
use running_process::broker::backend_sdk::{FrameClient, LegacyClassification};
use running_process::broker::protocol::{Endpoint, try_decode_framed_ref};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

const CACHE: u32 = 0xF0CA;

fn load(daemon: &Daemon, arguments: &[&str]) -> Finished {
    finish(&mut load_command(text(&daemon.identity_file()), arguments))
}

fn load_command(identity: &str, arguments: &[&str]) -> Command {
    let mut load = command();
    load.args(["load", identity, "--protocol", "0xF0CA"]).args(arguments);
    load
}

/// Starts a load that does not end by itself, and waits until the daemon has answered some requests.
fn endless_load(daemon: &Daemon, arguments: &[&str]) -> Child {
    let endpoint = Endpoint::unix_socket("test", text(&daemon.socket())).unwrap();
    let mut client = FrameClient::connect(&endpoint).unwrap();
    let before = counter(&mut client);
    let mut load = load_command(text(&daemon.identity_file()), arguments);
    load.args(["--duration", "1h", "--warm-up", "0s", "INCR n"]);
    let load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let watchdog = Instant::now() + WATCHDOG;
    // This exceeds the number of requests in flight.
    while counter(&mut client) < before + 100 {
        assert!(Instant::now() < watchdog, "no load arrives in time");
    }
    load
}

/// Returns the number of `INCR n` that the daemon has run.
fn counter(client: &mut FrameClient) -> u64 {
    let reply = client.request(CACHE, b"GET n".to_vec()).unwrap().payload;
    let reply = String::from_utf8(reply).unwrap();
    reply.lines().nth(1).map_or(0, |number| number.parse().unwrap())
}

fn histogram_total(report: &Value) -> u64 {
    report["histogram"].as_array().unwrap().iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum()
}

#[test]
fn every_reported_request_has_reached_the_daemon_and_has_a_latency() {
    let daemon = Daemon::start();
    let arguments = ["--json", "--requests", "200", "--connections", "4", "--in-flight", "8"];
    let json = load(&daemon, &[&arguments[..], &["--warm-up", "0s", "INCR n"]].concat());
    assert_eq!(json.status, 0, "{json:?}");
    let objects = json.objects();
    let [report] = &objects[..] else { panic!("{objects:?}") };
    let counts = serde_json::json!({
        "sent": 200, "answered": 200, "answered_with_error": 0, "failed": 0, "unfinished": 0, "unsent": 0,
    });
    assert_eq!(report["requests"], counts);
    assert_eq!((&report["connections"], &report["in_flight"]), (&4.into(), &8.into()));
    assert_eq!((&report["payload_bytes"], &report["phase"]), (&6.into(), &"measured".into()));
    assert_eq!((&report["errors"], &report["lost_connections"]), (&serde_json::json!([]), &0.into()));
    assert_eq!(histogram_total(report), 200);
    let latencies: Vec<_> = ["min", "p50", "p90", "p99", "p99_9", "max"]
        .map(|name| report["latency_ns"][name].as_u64().unwrap())
        .into();
    assert!(latencies.is_sorted() && latencies[0] > 0, "{latencies:?}");
    let endpoint = Endpoint::unix_socket("test", text(&daemon.socket())).unwrap();
    assert_eq!(counter(&mut FrameClient::connect(&endpoint).unwrap()), 200);
}

#[test]
fn text_output_has_throughput_percentiles_and_bars() {
    let daemon = Daemon::start();
    let arguments = ["--requests", "200", "--connections", "4", "--in-flight", "8", "--warm-up", "10ms"];
    let human = load(&daemon, &arguments);
    assert_eq!((human.status, &*human.stderr), (0, ""), "{human:?}");
    for words in [
        "4 connections x 8 in flight, 64 bytes each",
        "after 10ms of warm-up",
        "200 sent in",
        "200 answered, 0 failed",
        "requests/s, payloads",
        "MB/s out",
        "min        p50        p90        p99        p99.9      max",
        "█",
    ] {
        assert!(human.text().contains(words), "{words}: {}", human.text());
    }
    assert!(human.text().lines().skip(1).all(|line| line.chars().count() <= 80), "{}", human.text());
}

#[test]
fn an_open_loop_reports_every_request_that_was_due() {
    let daemon = Daemon::start();
    let arguments = ["--json", "--rate", "1000", "--duration", "200ms", "--warm-up", "20ms", "PING"];
    let report = load(&daemon, &arguments).objects().remove(0);
    let count = |name: &str| report["requests"][name].as_u64().unwrap();
    assert_eq!(count("sent") + count("unsent"), 200, "{report}");
    assert_eq!(count("answered"), count("sent"), "{report}");
    assert_eq!(histogram_total(&report), count("answered"));
    let limited = ["--json", "--rate", "100000", "--requests", "50", "--warm-up", "0s", "PING"];
    let report = load(&daemon, &limited).objects().remove(0);
    assert_eq!(report["requests"]["answered"], 50, "{report}");
}

#[test]
fn a_rate_that_exceeds_the_daemon_is_reported() {
    let daemon = Daemon::start();
    let arguments = ["--rate", "10000000", "--duration", "50ms", "--warm-up", "0s", "PING"];
    let human = load(&daemon, &arguments);
    assert_eq!(human.status, 0, "{human:?}");
    assert!(
        human.text().contains("due and not sent: the rate exceeds what the daemon answered"),
        "{human:?}"
    );
}

#[test]
fn a_payload_can_come_from_standard_input() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let arguments =
        ["load", text(&identity_file), "--protocol", "0xF0CA", "--requests", "1", "--warm-up", "0s", "-"];
    let loaded = run_with_input(&arguments, b"SET greeting hello");
    assert_eq!(loaded.status, 0, "{loaded:?}");
    let call = run(&["call", text(&identity_file), "--protocol", "0xF0CA", "GET greeting"]);
    assert_eq!(call.stdout, b"$5\r\nhello\r\n");
    run_with_input(&arguments, &vec![b'x'; 17 << 20]).fails_with(2, &["a frame carries at most 16777216"]);
}

#[test]
fn a_daemon_that_is_killed_ends_the_load_with_figures_and_status_one() {
    let mut daemon = Daemon::start();
    let load = endless_load(&daemon, &["--json", "--connections", "2", "--in-flight", "4"]);
    daemon.child.kill().unwrap();
    let ended = collect(load);
    assert_eq!(ended.status, 1, "{ended:?}");
    let report = ended.objects().remove(0);
    let count = |name: &str| report["requests"][name].as_u64().unwrap();
    assert!(count("answered") > 0, "{report}");
    assert_eq!(count("failed"), 8, "every request in flight has failed: {report}");
    assert_eq!(count("answered") + count("failed"), count("sent"), "{report}");
    assert_eq!(histogram_total(&report), count("answered"));
    assert_eq!(report["lost_connections"], 2);
    let errors = report["errors"].as_array().unwrap();
    let failed: u64 = errors.iter().map(|error| error["count"].as_u64().unwrap()).sum();
    assert_eq!(failed, count("failed"));
    for error in errors {
        assert!(
            ["kind", "first", "hint"].iter().all(|key| !error[key].as_str().unwrap().is_empty()),
            "{error}"
        );
    }
}

#[test]
fn an_interrupted_load_prints_its_figures() {
    let daemon = Daemon::start();
    for pace in [&["--in-flight", "8"][..], &["--rate", "5000"]] {
        let load = endless_load(&daemon, pace);
        kill("INT", load.id());
        let ended = collect(load);
        assert_eq!(ended.status, 0, "{ended:?}");
        for words in ["interrupted", "in flight were abandoned", "p99.9", "█"] {
            assert!(ended.text().contains(words), "{words}: {ended:?}");
        }
    }
}

/// Claims every request as legacy, so that no handler refuses it at its deadline. Probes are answered.
fn takes_every_request(buffer: &[u8]) -> LegacyClassification {
    match try_decode_framed_ref(buffer) {
        Ok(None) => LegacyClassification::NeedMoreBytes,
        Ok(Some(decoded)) if decoded.frame.payload_protocol == CACHE => LegacyClassification::Legacy,
        _ => LegacyClassification::NotLegacy,
    }
}

#[test]
fn a_daemon_that_never_answers_is_counted_as_timed_out() {
    let (release, is_released) = mpsc::channel::<()>();
    let is_released = Mutex::new(is_released);
    let server = TestServer::start(|server| {
        server.serve(CACHE, |_| Ok(Vec::new())).legacy(takes_every_request, move |_connection| {
            let _released = is_released.lock().unwrap().recv();
        })
    });
    let identity_file = server.identity_file();

    let arguments = ["--requests", "3", "--timeout", "50ms", "--warm-up", "0s"];
    let load = finish(&mut load_command(&identity_file, &arguments));
    assert_eq!(load.status, 1, "{load:?}");
    for words in ["0 answered, 3 failed", "TimedOut x 3: no answer within 50ms", "hint", "--timeout"] {
        assert!(load.text().contains(words), "{words}: {load:?}");
    }
    let open = finish(load_command(&identity_file, &arguments).args(["--rate", "1000", "--json"]));
    let report = open.objects().remove(0);
    assert_eq!((open.status, &report["requests"]["failed"]), (1, &3.into()), "{report}");
    assert_eq!((&report["latency_ns"], histogram_total(&report)), (&Value::Null, 0));
    drop(release);
}

#[test]
fn a_protocol_that_the_daemon_does_not_serve_ends_the_load_in_its_warm_up() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let load = run(&["load", text(&identity_file), "--protocol", "0xF0CB", "--connections", "3"]);
    assert_eq!(load.status, 1, "{load:?}");
    for words in ["0 answered, 3 failed", "nothing was measured", " x 3: ", "hint"] {
        assert!(load.text().contains(words), "{words}: {load:?}");
    }
    let json = run(&["load", text(&identity_file), "--protocol", "0xF0CB", "--json"]);
    let report = json.objects().remove(0);
    assert_eq!((json.status, &report["phase"], &report["latency_ns"]), (1, &"warm_up".into(), &Value::Null));
}

#[test]
fn the_progress_takes_one_line_of_a_narrow_terminal() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::open(30, 10);
    let mut load = load_command(text(&daemon.identity_file()), &["--duration", "1h", "--warm-up", "0s"]);
    // The figures on standard output are discarded.
    let load = load.stdout(Stdio::null()).stderr(terminal.end()).env("TERM", "xterm").spawn().unwrap();
    terminal.read_until(|terminal| terminal.written().matches("measuring").count() >= 3);
    terminal.read_until(|terminal| terminal.screen.text().contains('…'));
    let text = terminal.screen.text();
    assert!(text.lines().count() == 1 && text.starts_with("measuring"), "{text}");
    kill("INT", load.id());
    assert_eq!(terminal.finish(load), 0);
    assert_eq!(terminal.screen.text(), "", "the line is removed at the end");
}

#[test]
fn invalid_arguments_of_load_are_refused() {
    let daemon = Daemon::start();
    let refused = |arguments: &[&str], words: &[&str]| {
        load(&daemon, arguments).fails_with(2, words);
    };
    refused(&["--connections", "0"], &["'--connections <N>'", "from 1 to 100000\n"]);
    refused(&["--in-flight", "0"], &["'--in-flight <N>'", "from 1 to 10000\n"]);
    refused(&["--requests", "0"], &["'--requests <N>'"]);
    refused(&["--rate", "0"], &["'--rate <R>'", "from 1 to 10000000\n"]);
    refused(&["--duration", "0s"], &["longer than 0s"]);
    refused(&["--timeout", "1000years"], &["the longest duration is 365 days"]);
    refused(&["--size", "1KB"], &["64, 16KiB or 1MiB"]);
    refused(&["--size", "17MiB"], &["a frame carries at most 16777216 bytes"]);
    refused(&["--size", "16MiB"], &["the cap is 16777216", "hint: a frame carries at most"]);
    refused(&["--size", "64", "PING"], &["cannot be used with"]);
    refused(
        &["--connections", "1000", "--in-flight", "10000"],
        &["10000000 requests in flight exceed the limit of 1000000", "hint:"],
    );
    run(&["load", text(&daemon.identity_file()), "--protocol", "0xB232"])
        .fails_with(2, &["0xB232 is reserved for the wire itself", "hint:"]);
    run(&["load", "missing.json", "--protocol", "0xF0CA"])
        .fails_with(2, &["there is no identity file", "hint:"]);
}

#[test]
fn a_load_on_a_daemon_that_has_ended_sends_nothing() {
    let mut daemon = Daemon::start();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    load(&daemon, &[]).fails_with(1, &["nothing was sent", "is gone", "start it again"]);
}

#[test]
fn the_limit_of_open_files_is_raised_or_reported_as_too_low() {
    let daemon = Daemon::start();
    let limited = |limit: &str| {
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        finish(
            Command::new("sh")
                .args(["-c", &script, env!("CARGO_BIN_EXE_running-process"), "load"])
                .arg(daemon.identity_file())
                .args([
                    "--protocol",
                    "0xF0CA",
                    "--connections",
                    "100",
                    "--requests",
                    "100",
                    "--warm-up",
                    "0s",
                ]),
        )
    };
    limited("-n 64").fails_with(2, &["100 connections need", "may have 64", "--connections", "ulimit -Hn"]);
    let raised = limited("-S -n 64");
    assert_eq!(raised.status, 0, "{raised:?}");
    assert!(raised.text().contains("100 answered, 0 failed"), "{raised:?}");
}

#[test]
fn answers_that_are_errors_are_told_apart_and_are_no_success() {
    let daemon = Daemon::start();
    let few = ["--requests", "20", "--warm-up", "0s"];
    let refused = load(&daemon, &[&few[..], &["NOSUCH"]].concat());
    assert_eq!(refused.status, 1, "{refused:?}");
    let told =
        "20 answered, 0 failed\n            20 answered with an error, such as -ERR unknown command `NOSUCH`";
    assert!(refused.text().contains(told), "{refused:?}");
    let json = load(&daemon, &[&few[..], &["--json", "NOSUCH"]].concat());
    let report = &json.objects()[0];
    let counts = ["answered", "answered_with_error", "failed"].map(|name| report["requests"][name].as_u64());
    assert_eq!((json.status, counts), (1, [Some(20), Some(20), Some(0)]));
    assert!(report["first_error"].as_str().unwrap().starts_with("-ERR unknown command"), "{report}");
    // A payload of a size is no command.
    let filled = load(&daemon, &few);
    assert!(filled.status == 0 && filled.text().contains("20 answered with an error"), "{filled:?}");
    let other = load(&daemon, &[&few[..], &["--error-prefix", "+PONG", "PING"]].concat());
    assert!(other.status == 1 && other.text().contains("such as +PONG\n"), "{other:?}");
    let none = load(&daemon, &[&few[..], &["PING"]].concat());
    assert!(none.status == 0 && !none.text().contains("with an error"), "{none:?}");
}
