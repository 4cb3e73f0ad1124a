//! Replacements and kills of the service's daemon, one after the other.

use super::bed::is_daemon;
use super::judge::{Fault, Judge};
use super::stop::Stop;
use crate::journal::now;
use crate::random::Random;
use running_process::Service;
use running_process::broker::service::{Deadline, Replacement};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The longest time until a daemon serves again.
const LONGEST: Duration = Duration::from_mins(1);

/// The number of faults of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) replacements: u64,
    pub(super) kills: u64,
    /// Kills of a daemon while it was replaced.
    pub(super) kills_in_replacements: u64,
    /// The daemon was stopped, and then the next one started.
    pub(super) stops: u64,
}

/// The judge, and what tells that it has read more.
pub(super) type Shared = (Mutex<Judge>, Condvar);

pub(super) struct Faults<'a> {
    pub(super) service: &'a Service,
    pub(super) directory: &'a Path,
    pub(super) judge: &'a Shared,
    pub(super) stop: &'a Stop,
    pub(super) pause: Duration,
    pub(super) counts: Counts,
}

impl Faults<'_> {
    /// Replaces and kills until the run stops.
    pub(super) fn run(mut self, seed: u64) -> Counts {
        let mut random = Random::new(seed, "faults");
        // A daemon that dies within a minute counts as a failed start, and the third one in a row makes a pause. A stop ends the count.
        let mut failed = 0;
        while !self.stop.wait(random.about(self.pause)) {
            let turn = random.of(0..10);
            let fails = [1, 1, 1, 2].get(usize::try_from(turn).unwrap()).copied().unwrap_or(0);
            if failed + fails > 2 {
                self.replace_by(Replacement::StopThenStart);
                failed = 0;
                continue;
            }
            failed += fails;
            match fails {
                0 => self.replace_by(Replacement::Handover),
                1 => self.kill(),
                _ => self.kill_in_replacement(&mut random),
            }
        }
        self.counts
    }

    fn violated(&self, text: &str) {
        self.judge.0.lock().unwrap().violated(text);
    }

    fn counts_of_starts(&self) -> (u64, u64) {
        let judge = self.judge.0.lock().unwrap();
        (judge.starts, judge.readies)
    }

    /// Waits until one more daemon was started and is ready, and checks that it is one.
    fn expect_one_more(&self, before: (u64, u64), after: &str) {
        let (judge, changed) = self.judge;
        let expected = (before.0 + 1, before.1 + 1);
        let is_missing = |judge: &mut Judge| judge.readies < expected.1;
        let mut judge = changed.wait_timeout_while(judge.lock().unwrap(), LONGEST, is_missing).unwrap().0;
        let found = (judge.starts, judge.readies);
        if found != expected {
            judge.violated(&format!("starts and readies after {after} are {found:?}, not {expected:?}"));
        }
    }

    fn replace_by(&mut self, by: Replacement) {
        let before = self.counts_of_starts();
        if by == Replacement::StopThenStart {
            let mut judge = self.judge.0.lock().unwrap();
            if let Some(pid) = judge.current() {
                judge.begins(Fault::Stop, pid, now());
            }
            self.counts.stops += 1;
        } else {
            self.counts.replacements += 1;
        }
        match self.service.restart_by(by, Deadline::after(LONGEST), &mut |_| {}) {
            Ok(replaced) if replaced.by == Some(by) && replaced.is_new => {
                self.expect_one_more(before, &format!("a replacement by {by:?}"));
            }
            outcome => self.violated(&format!("a replacement ended with {outcome:?}")),
        }
        self.mended();
    }

    /// Returns whether a process was killed.
    fn kill_process(&self, pid: Option<u32>) -> bool {
        let Some(process) = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) else { return false };
        self.judge.0.lock().unwrap().begins(Fault::Kill, pid.unwrap_or(0), now());
        // It may have ended, and another program may have its number.
        pid.is_some_and(|pid| is_daemon(pid, self.directory)) && kill_process(process, Signal::KILL).is_ok()
    }

    /// Waits until a daemon is proven again.
    fn mend(&self, after: &str) {
        match self.service.ensure(Deadline::after(LONGEST)) {
            Ok(daemon) => self.judge.0.lock().unwrap().serves(daemon.daemon_process.pid, now()),
            Err(error) => self.violated(&format!("no daemon after {after}: {error}: {error:?}")),
        }
    }

    fn mended(&self) {
        self.judge.0.lock().unwrap().mended(now());
    }

    fn kill(&mut self) {
        let before = self.counts_of_starts();
        let pid = self.judge.0.lock().unwrap().current();
        if !self.kill_process(pid) {
            return self.violated(&format!("the daemon {pid:?} had ended before it was killed"));
        }
        self.mend("a kill");
        self.expect_one_more(before, "a kill");
        self.mended();
        self.counts.kills += 1;
    }

    /// Kills the old daemon or its successor in the middle: then one of them serves, or another one is started.
    fn kill_in_replacement(&mut self, random: &mut Random) {
        let (before, old) = (self.counts_of_starts(), self.judge.0.lock().unwrap().current());
        let (delay, kills_old) = (Duration::from_micros(random.of(0..150_000)), random.once_in(2));
        let was_killed = std::thread::scope(|scope| {
            let replacing = scope.spawn(|| {
                // An error is as right as a new daemon: one of both was killed.
                drop(self.service.restart_by(Replacement::Handover, Deadline::after(LONGEST), &mut |_| {}));
            });
            std::thread::sleep(delay);
            let killed = if kills_old {
                old
            } else {
                self.judge.0.lock().unwrap().daemons.last().map(|daemon| daemon.pid)
            };
            let was_killed = self.kill_process(killed);
            replacing.join().unwrap();
            was_killed
        });
        self.mend("a kill in a replacement");
        self.mended();
        let after = self.counts_of_starts();
        if after.0 - before.0 > 3 {
            self.violated(&format!("{} starts after a kill in a replacement", after.0 - before.0));
        }
        self.counts.kills_in_replacements += u64::from(was_killed);
    }
}
