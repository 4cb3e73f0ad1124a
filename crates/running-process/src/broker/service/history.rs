//! The history of starts, in a file: all clients share the pause after failures, and learn why a start failed.

use super::backoff;
use super::files::{private, remove_if_present};
use super::moment::{from_unix_ms, unix_ms};
use super::paths::ServicePaths;
use super::upgrade::{MAX_BOUND, ReplacementRecord};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;
/// Bytes of a file with the end of a log in it.
const USUAL_BYTES: usize = 4096;

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// The end of the daemon, or the reason why it never ran.
    pub end: StartEnd,
    /// The last lines of the log, at most 2 KiB; only those that the daemon of this start wrote, if a client started it.
    pub log: String,
}

/// The way in which a start failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartEnd {
    /// The program could not be run.
    NotRun {
        /// The error of the system, with the program.
        error: String,
    },
    /// The process ended with a status before it served.
    Exited {
        /// The exit status.
        status: i32,
    },
    /// A signal ended the process before it served.
    Signaled {
        /// The number of the signal.
        signal: i32,
    },
    /// The process ended before it served, and the system does not say how.
    Ended,
    /// The process reported nothing for the service's start timeout, and was ended.
    Silent {
        /// The last status that it reported; empty if there was none.
        status: String,
    },
    /// The client that started the daemon ended or gave up before the daemon served, and then the daemon ended as well.
    Abandoned,
    /// The daemon served and ended without cleaning up, soon after its start.
    Crashed,
}

impl fmt::Display for StartEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun { error } => write!(formatter, "the daemon could not be run: {error}"),
            Self::Exited { status } => {
                write!(formatter, "the daemon exited with status {status} before it served")
            }
            Self::Signaled { signal } => {
                write!(formatter, "signal {signal} ended the daemon before it served")
            }
            Self::Ended => formatter.write_str("the daemon ended before it served"),
            Self::Silent { status } if status.is_empty() => {
                formatter.write_str("the daemon was silent for too long")
            }
            Self::Silent { status } => {
                write!(formatter, "the daemon was silent for too long after {status:?}")
            }
            Self::Abandoned => {
                formatter.write_str("the daemon ended before it served, and no client saw how")
            }
            Self::Crashed => formatter.write_str("the daemon crashed soon after its start"),
        }
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.end)?;
        if self.log.is_empty() { Ok(()) } else { write!(formatter, "; its log ends with:\n{}", self.log) }
    }
}

/// The starts of one service and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// The number of the last start.
    pub(super) start: u64,
    /// When it began; `None` if there was none.
    pub(super) began: Option<SystemTime>,
    /// The stage of the last start.
    pub(super) stage: Stage,
    /// The process of the last start and its start time, which together name one process of this boot.
    pub(super) process: Option<(u32, u64)>,
    /// The program of the last start, as the client's service named it; `None` if no client started it, or the path is not UTF-8.
    pub(super) program: Option<String>,
    /// The length of the log when the last start began to write to it.
    pub(super) log_from: u64,
    /// Starts in a row that failed.
    pub(super) failures: u32,
    /// Nothing is started until then.
    pub(super) until: Option<SystemTime>,
    /// The last failure, with the number of its start, unless a daemon has served for long since.
    pub(super) failure: Option<(u64, StartFailure)>,
    /// The last replacements that a policy has decided, in their order, at most [`MAX_BOUND`].
    pub(super) replacements: Vec<ReplacementRecord>,
}

/// The stage of a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The daemon was not seen to serve, nor to fail.
    Starting,
    /// The daemon serves or served.
    Served,
    /// The start failed, or there was none.
    #[default]
    Over,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Served => "served",
            Self::Over => "over",
        }
    }

    fn of(name: &str) -> Self {
        match name {
            "starting" => Self::Starting,
            "served" => Self::Served,
            _ => Self::Over,
        }
    }
}

impl History {
    /// Returns the history; an empty one if there is none or it cannot be read: then the next start is free.
    pub(super) fn read(paths: &ServicePaths) -> Self {
        let read = || -> io::Result<Self> {
            // With room for all of it, one read and that of its end are enough.
            let mut text = String::with_capacity(USUAL_BYTES);
            private().read(true).open(paths.history())?.take(MAX_BYTES).read_to_string(&mut text)?;
            Ok(Self::from_json(&serde_json::from_str(&text)?))
        };
        read().unwrap_or_default()
    }

    /// Writes the history as a whole. Only the holder of the lock, or of `replacing`, writes.
    pub(super) fn write(&self, paths: &ServicePaths) -> io::Result<()> {
        let path = paths.history();
        let new = path.with_extension("json.new");
        remove_if_present(&new)?;
        let json = serde_json::to_vec_pretty(&self.to_json(paths.key()))?;
        private().write(true).create_new(true).open(&new)?.write_all(&json)?;
        fs::rename(&new, path)
    }

    /// Returns when the next start is allowed, if that is after `now`. A clock that was set back does not prolong the pause.
    pub(super) fn backs_off(&self, now: SystemTime) -> Option<SystemTime> {
        let until = self.until?;
        let left = until.duration_since(now).ok()?;
        (!left.is_zero() && left <= backoff::pause(self.failures)).then_some(until)
    }

    /// Begins the next start at `now`.
    pub(super) fn begin(&mut self, now: SystemTime) {
        self.start += 1;
        self.began = Some(now);
        self.stage = Stage::Starting;
        (self.process, self.program, self.log_from) = (None, None, 0);
    }

    /// Records the program of the last start, as the client's service names it.
    pub(super) fn runs_program(&mut self, program: Option<&Path>) {
        self.program = program.and_then(Path::to_str).map(str::to_owned);
    }

    /// Records the process of the last start.
    pub(super) fn runs(&mut self, pid: u32, start_time: Option<u64>) {
        self.process = start_time.map(|start_time| (pid, start_time));
    }

    /// Records that the last start failed.
    pub(super) fn failed(&mut self, failure: StartFailure, now: SystemTime) {
        self.failures = self.failures.saturating_add(1);
        self.until = now.checked_add(backoff::pause(self.failures));
        self.failure = Some((self.start, failure));
        self.stage = Stage::Over;
    }

    /// Returns the failure of the last start, if that has failed: an earlier one says nothing about the daemon of now.
    pub(super) fn last_failure(&self) -> Option<&StartFailure> {
        let (failed, failure) = self.failure.as_ref()?;
        (*failed == self.start).then_some(failure)
    }

    /// Returns when the last failure was recorded.
    pub(super) fn failed_at(&self) -> Option<SystemTime> {
        self.until?.checked_sub(backoff::pause(self.failures))
    }

    /// Returns the failure of start number `start`, or of a later one, if a client saw it. Of any other the cause is not known,
    /// and the next start may succeed.
    pub(super) fn failure_since(&self, start: u64) -> Option<&StartFailure> {
        let (failed, failure) = self.failure.as_ref()?;
        let was_seen = !matches!(failure.end, StartEnd::Crashed | StartEnd::Abandoned);
        (*failed >= start && was_seen).then_some(failure)
    }

    /// Records that the daemon of the last start serves.
    pub(super) fn serves(&mut self) {
        self.stage = Stage::Served;
    }

    /// Records the traces of a daemon that ended without cleaning up: a failure if it was started a short while before `now`,
    /// unless its client saw the start fail.
    pub(super) fn crashed(&mut self, now: SystemTime, log: String) {
        let is_recent = self
            .began
            .and_then(|began| now.duration_since(began).ok())
            .is_some_and(|age| age < backoff::SETTLED_AFTER);
        if self.stage == Stage::Over {
            return;
        }
        if is_recent {
            self.failed(StartFailure { end: StartEnd::Crashed, log }, now);
        } else {
            self.settled();
        }
    }

    /// Records that the last start left nothing behind. If its daemon served, it has ended as it should; else nobody saw it
    /// fail.
    pub(super) fn left_nothing(&mut self, now: SystemTime, log: impl FnOnce() -> String) {
        match self.stage {
            Stage::Served => self.settled(),
            Stage::Starting => self.failed(StartFailure { end: StartEnd::Abandoned, log: log() }, now),
            Stage::Over => {}
        }
    }

    /// Forgets the failures: a daemon has served for long, or has ended as it should.
    pub(super) fn settled(&mut self) {
        self.stage = Stage::Over;
        (self.failures, self.until, self.failure) = (0, None, None);
    }

    /// Records a replacement, and forgets the oldest ones.
    pub(super) fn replaced(&mut self, record: ReplacementRecord) {
        self.replacements.push(record);
        let excess = self.replacements.len().saturating_sub(MAX_BOUND as usize);
        self.replacements.drain(..excess);
    }

    fn to_json(&self, key: Option<&str>) -> Value {
        json!({
            "key": key,
            "start": self.start,
            "began_unix_ms": self.began.map(unix_ms),
            "stage": self.stage.name(),
            "pid": self.process.map(|(pid, _)| pid),
            "process_start_time": self.process.map(|(_, start_time)| start_time),
            "program": self.program,
            "log_from": self.log_from,
            "failures": self.failures,
            "until_unix_ms": self.until.map(unix_ms),
            "failed_start": self.failure.as_ref().map(|(start, _)| start),
            "failure": self.failure.as_ref().map(|(_, failure)| failure_to_json(failure)),
            "replacements": self.replacements.iter().map(ReplacementRecord::to_json).collect::<Vec<_>>(),
        })
    }

    fn from_json(value: &Value) -> Self {
        let time = |name: &str| value[name].as_u64().and_then(from_unix_ms);
        Self {
            start: value["start"].as_u64().unwrap_or_default(),
            began: time("began_unix_ms"),
            stage: Stage::of(value["stage"].as_str().unwrap_or_default()),
            process: value["pid"]
                .as_u64()
                .and_then(|pid| pid.try_into().ok())
                .zip(value["process_start_time"].as_u64()),
            program: value["program"].as_str().map(str::to_owned),
            log_from: value["log_from"].as_u64().unwrap_or_default(),
            failures: value["failures"].as_u64().and_then(|count| count.try_into().ok()).unwrap_or_default(),
            until: time("until_unix_ms"),
            failure: value["failed_start"].as_u64().zip(failure_from_json(&value["failure"])),
            replacements: value["replacements"]
                .as_array()
                .map(|records| records.iter().filter_map(ReplacementRecord::from_json).collect())
                .unwrap_or_default(),
        }
    }
}

fn failure_to_json(failure: &StartFailure) -> Value {
    let (end, detail) = match &failure.end {
        StartEnd::NotRun { error } => ("not_run", json!(error)),
        StartEnd::Exited { status } => ("exited", json!(status)),
        StartEnd::Signaled { signal } => ("signaled", json!(signal)),
        StartEnd::Ended => ("ended", Value::Null),
        StartEnd::Silent { status } => ("silent", json!(status)),
        StartEnd::Abandoned => ("abandoned", Value::Null),
        StartEnd::Crashed => ("crashed", Value::Null),
    };
    json!({ "end": end, "detail": detail, "log": failure.log })
}

fn failure_from_json(value: &Value) -> Option<StartFailure> {
    let detail = &value["detail"];
    let text = || detail.as_str().unwrap_or_default().to_owned();
    let number = || detail.as_i64().and_then(|number| number.try_into().ok()).unwrap_or_default();
    let end = match value["end"].as_str()? {
        "not_run" => StartEnd::NotRun { error: text() },
        "exited" => StartEnd::Exited { status: number() },
        "signaled" => StartEnd::Signaled { signal: number() },
        "silent" => StartEnd::Silent { status: text() },
        "abandoned" => StartEnd::Abandoned,
        "crashed" => StartEnd::Crashed,
        _ => StartEnd::Ended,
    };
    Some(StartFailure { end, log: value["log"].as_str().unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests;
