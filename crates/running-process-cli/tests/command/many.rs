//! `ps` and `doctor` of two hundred services, of which twenty run.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::recording::installed;
use crate::common::service::Services;
use crate::common::{Finished, collect, finish, text};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// All services, whose names have one length.
const KNOWN: usize = 200;
const LIVE: usize = 20;
/// A service that has run and does not.
const IDLE: &str = "s150";

/// Returns services of which the first ones run, and all others have run before.
fn many() -> Services {
    let services = Services::new();
    let label = |number: usize| format!("s{number:03}");
    for number in 0..KNOWN {
        services.configure_cache(&label(number), "");
    }
    let start = |number| {
        let mut start = services.command(&["start", &label(number)]);
        start.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let starts: Vec<_> = (0..=LIVE).map(start).collect();
    for start in starts {
        assert_eq!(collect(start).status, 0);
    }
    let has_run = services.root().join(label(LIVE));
    assert_eq!(services.run(&["stop", &label(LIVE)]).status, 0);
    for number in LIVE + 1..KNOWN {
        let copied =
            Command::new("cp").arg("-a").arg(&has_run).arg(services.root().join(label(number))).status();
        assert!(copied.unwrap().success());
    }
    services
}

/// Returns the shortest of five times, and what the command prints.
fn timed(services: &Services, arguments: &[&str]) -> (Duration, Finished) {
    let time = |_| {
        let began = Instant::now();
        let finished = services.run(arguments);
        (began.elapsed(), finished)
    };
    (0..5).map(time).min_by_key(|(time, _)| *time).unwrap()
}

/// Returns the system calls about files of the test, each with the paths that it names; `None` without strace.
fn calls(services: &Services, arguments: &[&str]) -> Option<Vec<String>> {
    let strace = installed("strace")?;
    let (command, trace) = (services.command(arguments), services.path("trace"));
    let mut traced = Command::new(strace);
    traced
        .args(["-f", "-y", "-s", "0", "-o", text(&trace)])
        .arg(command.get_program())
        .args(command.get_args());
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let finished = finish(&mut traced);
    // A sandbox may forbid to trace.
    let lines = fs::read_to_string(&trace).ok().filter(|lines| lines.contains("exit_group"));
    let Some(lines) = lines else {
        println!("skipped: {}", finished.stderr);
        return None;
    };
    let is_call = |line: &&str| line.contains(text(&services.path(""))) && !line.contains(" resumed>");
    Some(lines.lines().filter(is_call).map(str::to_owned).collect())
}

/// Prints the times of `ps` and `doctor`, which are to be 50 ms for a release build where nothing else runs. The bounds do not depend on
/// what else runs: the time in which as many commands ask for one service each, and the number of system calls for a service that does
/// not run.
#[test]
fn two_hundred_services_of_which_twenty_run_are_listed_and_examined_at_once() {
    let services = many();
    let (one, _) = timed(&services, &["status", "s000"]);
    for (command, most_calls) in [("ps", 40), ("doctor", 55)] {
        let (time, finished) = timed(&services, &[command]);
        println!("{command} of {KNOWN} services, {LIVE} of them live: {time:.0?}; status of one: {one:.0?}");
        assert!(time < 100 * one, "{command}: {time:?}, and {one:?} for one");
        if command == "ps" {
            let state = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
            let count = |name: &str| {
                finished.text().lines().filter(|line| state(line).as_deref() == Some(name)).count()
            };
            assert_eq!((count("live"), count("absent")), (LIVE, KNOWN - LIVE));
        } else {
            let end = finished.text().lines().last().unwrap();
            assert!(end.starts_with("200 services: ") || end.starts_with("ok: 200 services"), "{finished:?}");
            assert!(end.len() < 200, "only the first ones are named: {end}");
        }
        let Some(calls) = calls(&services, &[command]) else { continue };
        let is_of_one = |call: &&String| {
            call.contains("/s") && (0..KNOWN).any(|number| call.contains(&format!("/s{number:03}")))
        };
        let of_idle = calls.iter().filter(|call| call.contains(&format!("/{IDLE}"))).count();
        let shared = calls.iter().filter(|call| !is_of_one(call)).count();
        println!(
            "{command}: {of_idle} system calls for a service that does not run, {shared} for all together"
        );
        assert!(of_idle <= most_calls, "{command} makes {of_idle} system calls for {IDLE}");
        let connections = calls.iter().filter(|call| call.contains("connect(") && call.contains("/s000/"));
        assert_eq!(connections.count(), 1, "a daemon is asked on the connection of its proof");
        // Each look at a service checks its root.
        assert!(shared < KNOWN + 100, "{command} makes {shared} system calls for what all services share");
    }
}
