//! Replacements under load: no request fails, none is refused a connection, and none is answered twice.

use super::askers::{Askers, assert_each_answered_once};
use super::fixture::{Replaceable, number, replaced_by};
use super::times;
use crate::harness::await_that;
use crate::stampede::TURN;
use running_process_acceptance::{installed, run, watched};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Returns the number of replacements of each test: `REPLACEMENTS`, or 10.
fn replacements() -> usize {
    number("REPLACEMENTS", 10)
}

fn has_redis() -> bool {
    installed("redis-benchmark", &["--version"]) && installed("redis-cli", &["--version"])
}

fn redis_benchmark(service: &Replaceable, words: &[&str]) -> Command {
    let mut command = Command::new("redis-benchmark");
    command.args(["-s", &service.socket(), "-q", "-t", "set,get"]).args(words);
    command
}

/// Replaces the daemon again and again under the load of `askers`, and checks every request.
fn replaced_under_load(service: &Arc<Replaceable>, askers: Askers, words: &[&str]) {
    let mut daemons = vec![service.start()];
    // So long nothing is replaced, for comparison.
    thread::sleep(Duration::from_secs(1));
    let mut times = Vec::new();
    for _ in 0..replacements() {
        let began = Instant::now();
        daemons.push(service.replaced(*daemons.last().unwrap(), words));
        times.push((began, Instant::now()));
    }
    let (asked, failures) = askers.stop();
    assert_each_answered_once(service, &asked, &failures);
    times::print(&asked, &times);
    for daemon in &daemons {
        let answered = asked.iter().filter(|asked| asked.pid == *daemon).count();
        assert!(answered > 0, "{daemon} of {daemons:?} answered nothing");
    }
    assert!(asked.iter().all(|asked| daemons.contains(&asked.pid)));
    assert_eq!(service.events("start"), daemons.len());
    assert_eq!(service.events("end"), daemons.len() - 1);
    service.assert_never_two();
}

#[test]
fn replacements_under_load_lose_no_request_refuse_no_connection_and_answer_none_twice() {
    let _turn = TURN.lock();
    let service = Arc::new(Replaceable::new(&["serve"]));
    service.start();
    let mut askers = Askers::new(&service).on_tokio().blocking().ensures().connects();
    if has_redis() {
        let mut keeps = [["-k", "1"], ["-k", "0"]].into_iter().cycle();
        askers = askers.tool(move |service| {
            let words = [&keeps.next().unwrap()[..], &["-n", "200", "-c", "5"]].concat();
            let output = run(&mut redis_benchmark(service, &words), b"");
            let report = String::from_utf8_lossy(&output.stdout);
            let is_complete = ["SET: ", "GET: "].iter().all(|test| report.contains(test));
            if output.status.success() && is_complete && !report.contains("rror") {
                Ok(())
            } else {
                Err(format!("{output:?}").into())
            }
        });
    }
    replaced_under_load(&service, askers, &[]);
}

#[test]
fn replacements_of_daemons_on_tokio_under_load_lose_no_request() {
    let _turn = TURN.lock();
    let service = Arc::new(Replaceable::new(&["tokio"]));
    service.start();
    let askers = Askers::new(&service).on_tokio().blocking().ensures().connects();
    replaced_under_load(&service, askers, &[]);
}

#[test]
fn replacements_with_a_database_that_is_handed_over_lose_no_request() {
    let _turn = TURN.lock();
    let service = Arc::new(Replaceable::new(&["hooks"]));
    service.start();
    let askers = Askers::new(&service).on_tokio().blocking().ensures().connects();
    replaced_under_load(&service, askers, &[]);
    assert_eq!(service.events("release"), replacements());
    assert_eq!(service.events("resume"), 0);
}

#[test]
fn a_long_redis_benchmark_goes_on_across_a_replacement() {
    if !has_redis() {
        return;
    }
    let _turn = TURN.lock();
    let service = Replaceable::new(&["serve+drain=20000"]);
    let mut old = service.start();
    let mut requests = 20_000;
    loop {
        let count = requests.to_string();
        let mut benchmark = redis_benchmark(&service, &["-n", &count, "-c", "5", "-r", "100"]);
        let mut benchmark = benchmark.stdout(Stdio::piped()).spawn().unwrap();
        await_that("requests of the benchmark", || entries(&service) > 0);
        let restarted = service.restart(&[]);
        let goes_on = benchmark.try_wait().unwrap().is_none();
        let new = replaced_by(&restarted, old);
        assert_complete(benchmark);
        service.await_alone(new);
        if goes_on {
            println!("{requests} requests of each kind went on across the replacement");
            return;
        }
        // This machine is faster.
        (old, requests) = (new, 4 * requests);
        assert!(requests < 10_000_000, "the benchmark is always faster than a replacement");
    }
}

/// Returns the number of entries of the daemon's cache.
fn entries(service: &Replaceable) -> u64 {
    let output = run(Command::new("redis-cli").args(["-s", &service.socket(), "DBSIZE"]), b"");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Waits for the end of a benchmark, which must have all its answers.
#[track_caller]
fn assert_complete(benchmark: Child) {
    let output = watched(|| benchmark.wait_with_output().unwrap());
    let report = String::from_utf8_lossy(&output.stdout);
    let is_complete = ["SET: ", "GET: "].iter().all(|test| report.contains(test));
    assert!(output.status.success() && is_complete && !report.contains("rror"), "{output:?}");
}
