//! Servers and clients with few descriptors, few threads and little memory.

use super::control_group::ControlGroup;
use crate::harness::{Bench, PROBE, Running, await_that, cache, served_by};
use crate::host::{End, Host, outcome};
use running_process_acceptance::{Driver, TEST_TIMEOUT, connect, installed};
use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const DRIVERS: [Driver; 2] = [Driver::Blocking, Driver::Tokio];
/// The time of a session that may be refused or waits.
const SHORT: Duration = Duration::from_secs(2);
/// More connections than the server has descriptors.
const CROWD: usize = 40;
/// Most threads that a server of a test needs.
const THREADS: usize = 12;
const MEBIBYTE: usize = 1 << 20;

fn limited(limit: &str) -> Vec<String> {
    ["prlimit", limit].map(str::to_owned).to_vec()
}

/// Returns the command that runs `command` by the words `starter`.
fn by(starter: &[String], command: &Command) -> Command {
    let mut limited = Command::new(&starter[0]);
    limited.args(&starter[1..]).arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdin(Stdio::null());
    limited
}

/// Runs a session with the daemon of `host` in a process that `starter` starts.
fn assert_session_by(starter: &[String], host: &Host, driver: Driver) {
    let bench = Bench::new();
    let mut command = Command::new(PROBE);
    let words = ["exchange", &bench.marker, driver.name()].map(OsString::from);
    command.args(words).arg(host.identity_file()).arg(TEST_TIMEOUT.as_millis().to_string());
    command.env("XDG_CACHE_HOME", cache());
    let mut command = by(starter, &command);
    let mut client = Running::start(command.stderr(fs::File::create(bench.path("errors")).unwrap()));
    assert_eq!(outcome(&bench, &mut client), Some(Ok(())));
}

#[test]
fn a_server_with_twenty_descriptors_serves_what_fits_and_the_rest_when_there_is_room() {
    if !installed("prlimit", &["--version"]) {
        return;
    }
    for driver in DRIVERS {
        let host = Host::new(driver);
        let mut serving = host.begin(&limited("--nofile=20"));
        assert!(host.await_ready(&mut serving).is_none(), "{}", host.errors());
        host.assert_serves();
        let socket = host.bench.path("socket");
        let crowd: Vec<_> = (0..CROWD).map(|_| connect(socket.to_str().unwrap())).collect();
        await_that("full server", || host.errors().contains("Too many open files"));
        // It waits in the backlog, or is closed.
        assert!(host.session(SHORT).is_err());
        drop(crowd);
        host.assert_serves();
        host.assert_ends(&mut serving);
    }
}

#[test]
fn clients_with_twenty_descriptors_and_a_service_with_a_few_more_work() {
    if !installed("prlimit", &["--version"]) {
        return;
    }
    let few = limited("--nofile=20");
    let host = Host::new(Driver::Blocking);
    let mut serving = host.start();
    for driver in DRIVERS {
        assert_session_by(&few, &host, driver);
    }
    host.assert_ends(&mut serving);
    // The daemon of a service has twenty open before its first connection. With fewer it cannot be asked for its endpoint.
    for limit in ["--nofile=20", "--nofile=24"] {
        for plan in ["serve", "tokio"] {
            let bench = Bench::new();
            let client = by(&limited(limit), &bench.client("ensure", &[], plan));
            let daemon = served_by(&Running::start(&mut { client }).result());
            bench.assert_stopped(daemon);
        }
    }
}

#[test]
fn a_server_with_few_threads_refuses_what_it_has_none_for_and_serves_it_when_it_gets_some() {
    for driver in DRIVERS {
        // The runtime of tokio itself panics without its two threads.
        let least = if driver == Driver::Tokio { 3 } else { 1 };
        let mut refused = 0;
        for threads in least..=THREADS {
            let Some(group) = ControlGroup::new("pids", ["pids.max"; 2], &threads.to_string()) else {
                return;
            };
            let host = Host::new(driver);
            let mut serving = host.begin(&group.starter());
            match host.await_ready(&mut serving) {
                None => {
                    let outcome = host.session(SHORT);
                    refused += usize::from(outcome.is_err());
                    assert!(threads < THREADS || outcome.is_ok(), "{outcome:?}, {}", host.errors());
                    fs::write(group.path("pids.max"), "max").unwrap();
                    await_that("service or end", || {
                        crate::harness::has_ended(serving.pid) || host.session(SHORT).is_ok()
                    });
                    if crate::harness::has_ended(serving.pid) {
                        // It was identified before it failed.
                        assert_no_thread(&host.end_of(&mut serving));
                    } else {
                        host.assert_ends(&mut serving);
                    }
                }
                Some(end) => {
                    refused += 1;
                    assert_no_thread(&end);
                }
            }
            host.assert_heals();
        }
        assert!(refused > 0, "{driver:?}");
    }
}

/// Checks that a server told that it has no thread.
#[track_caller]
fn assert_no_thread(end: &End) {
    let End::Failed(error) = end else { panic!("{end:?}") };
    assert!(error["text"].as_str().unwrap().contains("Resource temporarily unavailable"), "{error}");
}

#[test]
fn servers_and_clients_serve_in_64_mebibytes_of_addresses() {
    if !installed("prlimit", &["--version"]) {
        return;
    }
    let little = limited(&format!("--as={}", 64 * MEBIBYTE));
    for driver in DRIVERS {
        let host = Host::new(driver);
        let mut serving = host.begin(&little);
        assert!(host.await_ready(&mut serving).is_none(), "{}", host.errors());
        host.assert_serves();
        assert_session_by(&little, &host, driver);
        host.assert_ends(&mut serving);
    }
}

#[test]
fn a_server_whose_memory_limit_fits_its_control_group_survives_a_crowd_there() {
    for driver in DRIVERS {
        let limit = (64 * MEBIBYTE).to_string();
        let Some(group) = ControlGroup::new("memory", ["memory.limit_in_bytes", "memory.max"], &limit) else {
            return;
        };
        let host = Host::new(driver);
        let mut starter = group.starter();
        starter.extend(["env".to_owned(), format!("MEMORY_LIMIT={}", 32 * MEBIBYTE)]);
        let mut serving = host.begin(&starter);
        assert!(host.await_ready(&mut serving).is_none(), "{}", host.errors());
        // Each claims 16 MiB and sends a part of them.
        let socket = host.bench.path("socket");
        let message =
            [&[1], &u32::try_from(16 * MEBIBYTE).unwrap().to_le_bytes()[..], &vec![b'x'; 4 * MEBIBYTE]]
                .concat();
        let socket = socket.to_str().unwrap();
        thread::scope(|scope| {
            for _ in 0..CROWD {
                scope.spawn(|| {
                    let stream = connect(socket);
                    // The server may end the connection first.
                    let _ = stream.write_all_deadline(&message, Some(std::time::Instant::now() + SHORT));
                    // Others are served meanwhile, or refused.
                    let _answered_or_told = host.session(SHORT);
                });
            }
        });
        host.assert_serves();
        host.assert_ends(&mut serving);
    }
}
