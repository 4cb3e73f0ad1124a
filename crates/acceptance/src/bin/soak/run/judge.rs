//! The judge: knows from the journal what became of each request and of each daemon, and when a failure is allowed.

use std::collections::{BTreeMap, VecDeque};

/// Violations that are told; further ones are only counted.
const TOLD: usize = 50;
/// Faults that are kept: a request fails long before so many more.
const KEPT_FAULTS: usize = 64;
/// Starts, ends and faults that are kept.
const KEPT_EVENTS: usize = 20;

const ASKED: u8 = 1;
const RUN: u8 = 2;
const ENDED: u8 = 4;

/// A fault for which requests of the service may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill,
    /// The daemon is stopped before the next one is started. Clients that reconnect wait for that one.
    Stop,
}

impl Fault {
    fn allows(self, client: &str) -> bool {
        client.starts_with("service/") && (self == Self::Kill || !client.ends_with("/reconnecting"))
    }
}

/// The time from a fault until the next daemon is proven.
#[derive(Clone, Copy, Debug)]
struct Outage {
    fault: Fault,
    from: u64,
    until: Option<u64>,
}

/// A daemon of the service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Daemon {
    pub(super) pid: u32,
    /// When its successor was ready, in nanoseconds of the monotonic clock.
    pub(super) followed: Option<u64>,
    pub(super) ended_by: Option<Fault>,
}

#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The flags of each request by its number.
    requests: Vec<u8>,
    /// The answered requests of each client.
    pub(super) answered: BTreeMap<String, u64>,
    pub(super) asked: u64,
    pub(super) late: u64,
    pub(super) cancelled: u64,
    /// Requests and connections that a kill or a stop has ended.
    pub(super) interrupted: u64,
    pub(super) lost: u64,
    pub(super) twice: u64,
    pub(super) wrong: u64,
    /// Starts and readies of daemons of the service.
    pub(super) starts: u64,
    pub(super) readies: u64,
    /// Readies of daemons of the service on each server.
    pub(super) drivers: BTreeMap<String, u64>,
    pub(super) daemons: Vec<Daemon>,
    pub(super) finished: bool,
    outages: VecDeque<Outage>,
    pub(super) violations: u64,
    told: usize,
    /// The last starts, ends and faults, which are told with the next violation.
    events: VecDeque<String>,
}

impl Judge {
    /// Counts a violation, and tells it.
    pub(super) fn violated(&mut self, text: &str) {
        self.violations += 1;
        if self.told < TOLD {
            self.told += 1;
            for event in self.events.drain(..) {
                eprintln!("{event}");
            }
            eprintln!("VIOLATION {text}");
        }
    }

    /// Takes a line of the journal that was read at this time.
    pub(super) fn line(&mut self, line: &str, now: u64) {
        let mut words = line.split(' ');
        let (kind, number) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let Ok(number) = number.parse::<u64>() else {
            return self.violated(&format!("the journal has the line {line:?}"));
        };
        let rest: Vec<&str> = words.collect();
        match (kind, &rest[..]) {
            ("ask", _) => {
                self.asked += 1;
                self.flag(number, ASKED, line);
            }
            ("run", _) => {
                if self.flag(number, RUN, line) & RUN != 0 {
                    self.twice += 1;
                    self.violated(&format!("a request was run again: {line}"));
                }
            }
            ("ok", [_, client, ..]) => {
                let before = self.end(number, line);
                if before & RUN == 0 && !client.ends_with("/probe") {
                    self.wrong += 1;
                    self.violated(&format!("a request that no daemon has run was answered: {line}"));
                }
                *self.answered.entry((*client).to_owned()).or_default() += 1;
            }
            ("late", _) => {
                self.late += 1;
                self.end(number, line);
            }
            ("cancelled", _) => {
                self.cancelled += 1;
                self.end(number, line);
            }
            ("wrong", _) => {
                self.wrong += 1;
                self.end(number, line);
                self.violated(line);
            }
            ("twice", _) => {
                self.twice += 1;
                self.violated(line);
            }
            ("fail", [client, began, ended, pid, ..]) => {
                self.failed(number, [client, began, ended, pid], line);
            }
            ("finished", _) => self.finished = true,
            ("second", _) => self.violated(&format!("two daemons serve: {line}")),
            (_, ["service"]) => self.service(kind, u32::try_from(number).unwrap_or(0), now),
            ("start" | "ready-on-threads" | "ready-on-tokio" | "end", ["threads" | "tokio"]) => {}
            _ => self.violated(&format!("the journal has the line {line:?}")),
        }
    }

    /// Notes what happened at this time.
    pub(super) fn happened(&mut self, text: &str, now: u64) {
        if self.events.len() == KEPT_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(format!("{now} {text}"));
    }

    fn service(&mut self, kind: &str, pid: u32, now: u64) {
        self.happened(&format!("{kind} {pid}"), now);
        match kind {
            "start" => {
                self.starts += 1;
                // An ended one had the same number.
                self.daemons.retain(|daemon| daemon.pid != pid);
                self.daemons.push(Daemon { pid, followed: None, ended_by: None });
            }
            "end" => {}
            ready => {
                self.readies += 1;
                *self.drivers.entry(ready.to_owned()).or_default() += 1;
                self.serves(pid, now);
            }
        }
    }

    /// Notes that this daemon serves, and no other one.
    pub(super) fn serves(&mut self, pid: u32, now: u64) {
        for daemon in self.daemons.iter_mut().filter(|daemon| daemon.pid != pid) {
            daemon.followed.get_or_insert(now);
        }
    }

    /// Sets a flag of a request, and returns those before.
    fn flag(&mut self, number: u64, flag: u8, line: &str) -> u8 {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if index > self.requests.len() + 1_000_000 {
            self.violated(&format!("no request has this number: {line}"));
            return 0;
        }
        if index >= self.requests.len() {
            self.requests.resize(index + 1, 0);
        }
        let before = self.requests[index];
        self.requests[index] |= flag;
        before
    }

    fn end(&mut self, number: u64, line: &str) -> u8 {
        let before = self.flag(number, ENDED, line);
        if before & ASKED == 0 || before & ENDED != 0 {
            self.twice += 1;
            self.violated(&format!("a request ended again, or was never made: {line}"));
        }
        before
    }

    /// A request, or a connection if its number is 0, has failed: that is allowed during an outage, and at a daemon that was ended.
    fn failed(&mut self, number: u64, [client, began, ended, pid]: [&str; 4], line: &str) {
        if number != 0 {
            self.end(number, line);
        }
        let time = |word: &str| word.parse::<u64>().unwrap_or(0);
        let (began, ended, pid) = (time(began), time(ended), time(pid));
        let is_at_killed = self.daemons.iter().any(|daemon| {
            u64::from(daemon.pid) == pid && daemon.ended_by.is_some_and(|fault| fault.allows(client))
        });
        let is_meanwhile = self.outages.iter().any(|outage| {
            outage.fault.allows(client)
                && ended >= outage.from
                && outage.until.is_none_or(|until| began <= until)
        });
        if is_at_killed || is_meanwhile {
            self.interrupted += 1;
        } else {
            self.lost += 1;
            self.violated(line);
        }
    }

    /// Returns the daemon of the service that is ready and was not followed.
    pub(super) fn current(&self) -> Option<u32> {
        self.daemons.iter().rev().find(|daemon| daemon.followed.is_none()).map(|daemon| daemon.pid)
    }

    /// Notes that a daemon is about to be killed or stopped.
    pub(super) fn begins(&mut self, fault: Fault, pid: u32, now: u64) {
        self.happened(&format!("{fault:?} {pid}"), now);
        if let Some(daemon) = self.daemons.iter_mut().rev().find(|daemon| daemon.pid == pid) {
            daemon.ended_by = Some(fault);
        }
        if self.outages.len() == KEPT_FAULTS {
            self.outages.pop_front();
        }
        self.outages.push_back(Outage { fault, from: now, until: None });
    }

    /// Notes that a daemon is proven again.
    pub(super) fn mended(&mut self, now: u64) {
        self.happened("mended", now);
        for outage in &mut self.outages {
            outage.until.get_or_insert(now);
        }
    }

    /// Counts the requests that never ended.
    pub(super) fn close(&mut self) {
        let open = self.requests.iter().filter(|flags| **flags & (ASKED | ENDED) == ASKED).count() as u64;
        if open > 0 {
            self.lost += open;
            self.violated(&format!("{open} requests have no end"));
        }
    }

    pub(super) fn summary(&self) -> String {
        let answered: u64 = self.answered.values().sum();
        format!(
            "asked {} answered {answered} late {} cancelled {} interrupted {} lost {} twice {} wrong {}",
            self.asked, self.late, self.cancelled, self.interrupted, self.lost, self.twice, self.wrong
        )
    }
}
