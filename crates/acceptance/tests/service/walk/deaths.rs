//! The death of each client of a start and a stop, before each of its system calls.

use super::bed::{Bed, finish, walk};
use super::trace::{Call, calls, can_interfere, record, sample};
use crate::harness::{Running, await_that, served_by};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fmt, fs};

pub(super) const KILL: &str = "signal=KILL";
/// A file for records that no one reads.
pub(super) const NOWHERE: &str = "/dev/null";

/// Returns the sampled calls of a client that does `verb`, in a new directory after `before`.
pub(super) fn calls_of_client(verb: &str, before: impl Fn(&Bed)) -> Vec<Call> {
    let bed = Bed::with_remembered_digest();
    before(&bed);
    let log = bed.bench.path("log");
    bed.call_under(verb, &record(&log), &[]).unwrap();
    bed.call("stop");
    sample(&calls(fs::read_to_string(log).unwrap().lines(), |_| true), &bed.bench.root())
}

#[test]
fn the_starter_may_die_at_each_system_call_of_a_start() {
    if !can_interfere() {
        return;
    }
    let points = calls_of_client("ensure", |_| {});
    walk("starter", &points, |point| {
        let bed = Bed::new();
        let result = bed.call_under("ensure", &point.inject(KILL, Path::new(NOWHERE)), &[]);
        bed.assert_heals();
        result.is_none()
    });
    // The next starter dies in what the first one left, while others wait.
    let pairs: Vec<_> =
        points.iter().zip(points.iter().rev()).map(|(first, second)| Pair(first, second)).collect();
    walk("starters", &pairs, |Pair(first, second)| {
        let bed = Bed::new();
        let begin = |point: &Call| {
            Running::start(&mut bed.client("ensure", &point.inject(KILL, Path::new(NOWHERE)), &[]))
        };
        let starters = [begin(first), begin(second)];
        let waiting = [(); 2].map(|()| Running::start(&mut bed.client("ensure", &[], &[])));
        let daemons = waiting.map(|client| served_by(&client.result()));
        let killed = starters.map(finish).iter().filter(|result| result.is_none()).count();
        assert_eq!(daemons, [bed.assert_heals(); 2]);
        killed > 0
    });
}

/// Two calls at which two clients die.
struct Pair<'a>(&'a Call, &'a Call);

impl fmt::Display for Pair<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} and {}", self.0, self.1)
    }
}

#[test]
fn a_client_may_die_at_each_system_call_and_the_daemon_goes_on() {
    if !can_interfere() {
        return;
    }
    let points = calls_of_client("ensure", |bed| {
        bed.start();
    });
    walk("client", &points, |point| {
        let bed = Bed::new();
        let daemon = bed.start();
        let result = bed.call_under("ensure", &point.inject(KILL, Path::new(NOWHERE)), &[]);
        assert_eq!(bed.assert_heals(), daemon);
        result.is_none()
    });
}

#[test]
fn a_client_may_die_at_each_system_call_while_it_waits_for_a_start() {
    if !can_interfere() {
        return;
    }
    // The daemon serves once the file exists.
    let slow = |bed: &mut Bed| {
        bed.plan = format!("wait:{},serve", bed.bench.path("go").display());
        let starter = Running::start(&mut bed.client("ensure", &[], &[]));
        bed.bench.await_event("start", 1);
        starter
    };
    let go = |bed: &Bed| drop(fs::File::create(bed.bench.path("go")).unwrap());
    let points = {
        let mut bed = Bed::new();
        let starter = slow(&mut bed);
        let log = bed.bench.path("log");
        let client = Running::start(&mut bed.client("ensure", &record(&log), &[]));
        await_that("wait of the client", || {
            fs::read_to_string(&log).is_ok_and(|log| {
                log.contains("/starting\"")
                    && log.lines().last().is_some_and(|line| line.starts_with("recvfrom("))
            })
        });
        go(&bed);
        finish(client).unwrap();
        served_by(&starter.result());
        bed.assert_heals();
        sample(&calls(fs::read_to_string(log).unwrap().lines(), |_| true), &bed.bench.root())
    };
    walk("waiting client", &points, |point| {
        let mut bed = Bed::new();
        let starter = slow(&mut bed);
        let log = bed.bench.path("log");
        let mut client = Running::start(&mut bed.client("ensure", &point.inject(KILL, &log), &[]));
        // It has died, or waits.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(40) && client.child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        go(&bed);
        let result = finish(client);
        let daemon = served_by(&starter.result());
        assert_eq!(bed.assert_heals(), daemon);
        result.is_none()
    });
}

#[test]
fn the_stopper_may_die_at_each_system_call_of_a_stop() {
    if !can_interfere() {
        return;
    }
    let points = calls_of_client("stop", |bed| {
        bed.start();
    });
    walk("stopper", &points, |point| {
        let bed = Bed::new();
        bed.start();
        let result = bed.call_under("stop", &point.inject(KILL, Path::new(NOWHERE)), &[]);
        bed.assert_heals();
        result.is_none()
    });
}
