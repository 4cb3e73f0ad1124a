//! `top` of a daemon that runs, of one that ends, and of those that do not report their status.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::server::TestServer;
use crate::common::terminal::Terminal;
use crate::common::{Daemon, Finished, command, kill, run, text};
use running_process::broker::backend_sdk::{NotAuthorized, Server};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

fn top(daemon: &Daemon, arguments: &[&str]) -> Finished {
    run(&[&["top", text(&daemon.identity_file())], arguments].concat())
}

fn call(daemon: &Daemon, payload: &str) {
    assert_eq!(run(&["call", text(&daemon.identity_file()), "--protocol", "0xF0CA", payload]).status, 0);
}

#[test]
fn once_shows_the_totals_since_the_daemon_began() {
    let daemon = Daemon::start();
    for payload in ["PING", "SET a b", "GET a"] {
        call(&daemon, payload);
    }
    let json = top(&daemon, &["--once", "--json"]);
    assert_eq!(json.status, 0, "{json:?}");
    let objects = json.objects();
    assert_eq!(objects.len(), 1);
    let status = &objects[0];
    assert_eq!(
        (&status["requests_answered"], &status["interval"]["requests_answered"]),
        (&3.into(), &3.into())
    );
    // Each call proves the daemon on the connection that it uses, and so does this.
    assert_eq!((&status["connections_accepted"], &status["probes_answered"]), (&4.into(), &4.into()));
    assert_eq!(status["limits_hit"]["connections"], 0);
    assert!(status["requests_per_second"].as_f64().unwrap() > 0.0);
    let latency = |name: &str| status["interval"]["latency_ns"][name].as_u64().unwrap();
    assert!(latency("p50") > 0 && latency("p50") <= latency("p99") && latency("p99") <= latency("max"));

    let table = top(&daemon, &["--once"]);
    let lines: Vec<_> = table.text().lines().collect();
    assert_eq!((table.status, lines.len()), (0, 2), "{table:?}");
    let header: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(
        header,
        ["conns", "req/s", "flight", "p50", "p90", "p99", "max", "refused", "limits", "buffers"]
    );
    assert!(lines[1].trim_start().starts_with('0'), "its own connection is not counted: {table:?}");
}

#[test]
fn each_interval_is_a_row_and_the_question_itself_is_no_request() {
    let daemon = Daemon::start();
    call(&daemon, "PING");
    let json = top(&daemon, &["--json", "--interval", "20ms", "--count", "3"]).objects();
    assert_eq!(json.len(), 3);
    for interval in &json {
        assert_eq!(interval["interval"]["requests_received"], 0);
        assert_eq!(interval["interval"]["latency_ns"]["p50"], serde_json::Value::Null);
        assert_eq!(interval["requests_received"], 1);
        assert!(interval["elapsed_s"].as_f64().unwrap() > 0.0);
    }
    let table = top(&daemon, &["--interval", "10ms", "--count", "21"]);
    assert_eq!(table.text().lines().filter(|line| line.contains("req/s")).count(), 2, "{table:?}");
    assert_eq!(table.text().lines().count(), 23);
}

#[test]
fn the_end_of_the_daemon_ends_the_command_with_an_error() {
    let mut daemon = Daemon::start();
    // The number of intervals bounds the command if it does not notice the end.
    let mut child = command()
        .args(["top", text(&daemon.identity_file()), "--interval", "10ms", "--count", "5000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = BufReader::new(child.stdout.take().unwrap());
    rows.read_line(&mut String::new()).unwrap();
    daemon.child.kill().unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    rows.read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let ended = Finished { status: child.wait().unwrap().code().unwrap(), stdout, stderr };
    let title = format!("process {} at", daemon.child.id());
    ended
        .fails_with(1, &[&title, "has ended, or closed the connection", "hint: run this command again once"]);
}

/// Runs `top` on a server that `configure` has set up.
fn top_of(configure: impl FnOnce(Server) -> Server) -> Finished {
    let server =
        TestServer::start(|server| configure(server).serve(0xF00D, |request| Ok(request.payload().to_vec())));
    run(&["top", &server.identity_file(), "--once", "--policy", "lenient"])
}

#[test]
fn each_reason_for_not_reporting_a_status_has_its_hint() {
    let daemon = Daemon::start();
    top(&daemon, &["--once", "--protocol", "0xF0CB"])
        .fails_with(1, &["does not report its status", "does not serve status requests", "--protocol"]);
    let refused = top_of(|server| server.authorize(|_| Err(NotAuthorized::new("ask the owner"))));
    refused.fails_with(1, &["does not report its status", "ask the owner", "as its user"]);
    let served = top_of(|server| server.serve(0xFFFF, |_| Ok(b"\xff\xffmine".to_vec())));
    served.fails_with(1, &["in payload protocol 0xFFFF is no status", "--protocol"]);
}

/// Checks that the terminal shows each figure of an interval once, and charts where there is room for them.
fn assert_figures(terminal: &Terminal, columns: usize) {
    let text = terminal.screen.text();
    let names: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with([' ', 'l']))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["process", "requests", "connections", "traffic", "buffers", "requests/s", "p99"],
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() < columns), "{text}");
    let words = text.replace(',', "").split_whitespace().collect::<Vec<_>>().join(" ");
    for figure in ["/s 0 in flight 0 refused 0 cancelled", "latency no request yet", "0 errors", "in all"] {
        assert_eq!(words.matches(figure).count(), 1, "{figure}: {text}");
    }
    assert!(words.contains("connections 0 open"), "its own connection is not counted: {text}");
    assert!(text.contains("┤ no request yet"), "{text}");
    assert!(text.contains('▁'), "an idle daemon has zero requests per second: {text}");
}

#[test]
fn a_narrow_terminal_and_one_that_is_resized_show_every_figure_once() {
    let daemon = Daemon::start();
    for sizes in [[(40, 24), (40, 24)], [(100, 30), (40, 20)], [(40, 20), (120, 40)], [(80, 24), (30, 30)]] {
        let mut terminal = Terminal::open(sizes[0].0, sizes[0].1);
        let mut top =
            terminal.spawn(command().args(["top", text(&daemon.identity_file()), "--interval", "20ms"]));
        for (columns, rows) in sizes {
            terminal.resize(columns, rows);
            // The first picture may be for the previous size; the second is for the new one. The sequence ends a picture.
            let drawn = |terminal: &Terminal| terminal.written().matches("\x1b[J").count();
            let before = drawn(&terminal);
            terminal.read_until(|terminal| drawn(terminal) >= before + 3);
            assert_figures(&terminal, columns.into());
        }
        top.kill().unwrap();
        top.wait().unwrap();
    }
}

#[test]
fn an_interrupt_leaves_the_last_picture_and_status_130() {
    let daemon = Daemon::start();
    for signal in ["INT", "TERM"] {
        let mut terminal = Terminal::open(80, 24);
        let top =
            terminal.spawn(command().args(["top", text(&daemon.identity_file()), "--interval", "20ms"]));
        terminal.read_until(|terminal| terminal.screen.text().contains("p99  "));
        kill(signal, top.id());
        assert_eq!(terminal.finish(top), 130);
        assert_figures(&terminal, 80);
    }
}

#[test]
fn what_was_on_the_terminal_is_scrolled_up_and_not_overwritten() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::open(80, 30);
    let echo = terminal.spawn(Command::new("echo").arg("the line before"));
    assert_eq!(terminal.finish(echo), 0);
    let mut top = command();
    top.args(["top", text(&daemon.identity_file()), "--interval", "20ms", "--count", "2"]);
    let top = terminal.spawn(&mut top);
    assert_eq!(terminal.finish(top), 0);
    assert!(!terminal.screen.text().contains("the line before"), "{}", terminal.screen.text());
    assert_figures(&terminal, 80);
}

#[test]
fn a_terminal_of_few_rows_shows_the_first_lines() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::open(80, 4);
    let child = terminal.spawn(command().args([
        "top",
        text(&daemon.identity_file()),
        "--interval",
        "5ms",
        "--count",
        "5",
    ]));
    assert_eq!(terminal.finish(child), 0);
    let lines: Vec<String> = terminal.screen.text().lines().map(str::to_owned).collect();
    let text = terminal.screen.text();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("process") && lines[2].starts_with("latency"), "{text}");
}

#[test]
fn invalid_arguments_of_top_are_refused() {
    run(&["top", "missing.json"]).fails_with(2, &["there is no identity file"]);
    run(&["top", "x.json", "--once", "--count", "2"]).fails_with(2, &["cannot be used with"]);
    run(&["top", "x.json", "--interval", "0s"]).fails_with(2, &["longer than 0s"]);
}
