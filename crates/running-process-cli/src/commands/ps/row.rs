//! A row of the list.

use super::super::found::{Found, stopped};
use super::super::probe::steps::level_name;
use super::super::status::{key, outlook};
use super::super::{identity_file, probe};
use crate::amount::{amount, rough};
use crate::failure::Failure;
use crate::failure::advice::service as advice;
use crate::failure::start::{FailedStart, unix_ms, until};
use crate::services::{self, Selected, Surveyed, Unusable};
use crate::table::{Align, Cell, Column};
use crate::text::safe;
use crate::verdict::Verdict;
use anstyle::{AnsiColor, Style};
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_lifecycle::verify::{ImageState, Policy};
use running_process::broker::protocol::ServerStatus;
use running_process::broker::service::{Decision, ServiceState};
use serde_json::{Value, json};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The columns of the list.
pub(super) const COLUMNS: [Column; 9] = [
    Column { title: "NAME", align: Align::Left, rank: 0 },
    Column { title: "STATE", align: Align::Left, rank: 0 },
    Column { title: "PID", align: Align::Right, rank: 1 },
    Column { title: "VERSION", align: Align::Left, rank: 2 },
    Column { title: "UPTIME", align: Align::Right, rank: 3 },
    Column { title: "CONNECTIONS", align: Align::Right, rank: 6 },
    Column { title: "IN FLIGHT", align: Align::Right, rank: 7 },
    Column { title: "MEMORY", align: Align::Right, rank: 5 },
    Column { title: "PROOF", align: Align::Left, rank: 4 },
];

/// A service, or a daemon with an identity file, as it is listed.
pub(super) struct Row {
    pub(super) label: String,
    /// The state for people.
    title: &'static str,
    style: Style,
    /// Set if the state could be told.
    pub(super) is_told: bool,
    is_live: bool,
    pid: Option<u32>,
    release: Option<String>,
    uptime: Option<Duration>,
    status: Option<ServerStatus>,
    memory: Option<u64>,
    proof: Option<&'static str>,
    /// The fault, if there is one.
    failure: Option<Failure>,
    /// Set if the next start replaces the daemon, or its program was replaced.
    is_outdated: bool,
    /// The cause of the state, or why a live daemon is outdated; `None` if there is nothing to explain.
    cause: Option<String>,
    /// The failure of the last start, if that explains why no daemon runs.
    start_failure: Option<FailedStart>,
    /// The line below the table.
    pub(super) note: Option<String>,
    /// The fields that are told in JSON alone.
    object: Value,
}

impl Row {
    /// Returns the row of a file that describes no service.
    pub(super) fn unusable(unusable: Unusable) -> Self {
        let Unusable { label, file, failure } = unusable;
        let object = json!({ "state": "unusable", "file": file.display().to_string() });
        Self::failed(label, "unusable file", *failure, object)
    }

    /// Returns the row of a service.
    pub(super) fn of_service(surveyed: Surveyed) -> Self {
        let Surveyed { selected, state, status, decision, last_failure, memory } = surveyed;
        let Selected { label, service, file, argument } = selected;
        let mut object = json!({
            "service": service.name(),
            "key": key(&service),
            "file": file.map(|file| file.display().to_string()),
            "directory": service.directory().ok().map(|directory| directory.display().to_string()),
        });
        match state {
            Ok(state) => {
                let outdated = outdated(&state, decision.as_ref());
                let stopped = stopped(&service, &state);
                let row = Self::found(label, state, &argument, stopped, object);
                let failed = last_failure.as_ref().map(|last| FailedStart::from(&last.failure));
                let (cause, is_outdated) = match outdated {
                    Some(cause) => (Some(cause), true),
                    None => (row.cause.or_else(|| failed.as_ref().map(failed_start)), false),
                };
                let note = cause.as_ref().map(|cause| {
                    let (label, command) = (safe(&row.label), if is_outdated { "restart" } else { "doctor" });
                    format!("{label}: {}\n    running-process {command} {argument}", safe(cause))
                });
                let start_failure = row.start_failure.or(failed);
                Self { status, memory, is_outdated, cause, start_failure, note, ..row }
            }
            Err(error) => {
                let advice = advice::find(&error, &argument);
                object["state"] = "unknown".into();
                Self::failed(label, "unknown", Failure::new(error, advice), object)
            }
        }
    }

    /// Returns the row of the daemon in the identity file at `path`, which proves itself before `until` or does not.
    pub(super) fn of_identity_file(path: &Path, until: Instant) -> Self {
        let label = services::label(path);
        let mut object = json!({ "file": null, "identity_file": path.display().to_string() });
        let verify = |expected: &DaemonProcess| BackendHandle::verify(expected, Policy::default(), until);
        let (identity, verified) = match identity_file::verified(path, until, verify, |error| error) {
            Ok(verified) => verified,
            Err(failure) => {
                object["state"] = "unusable".into();
                return Self::failed(label, "unusable file", failure, object);
            }
        };
        match verified {
            Ok(daemon) => {
                let (status, memory) = (services::status(&daemon, until), daemon.resident_bytes().ok());
                let state = ServiceState::Live(Box::new(daemon));
                Self { status, memory, ..Self::found(label, state, "", None, object) }
            }
            Err(error) => {
                let failure = probe::failure(error);
                let (state, title) = unproven(failure.name());
                object["state"] = state.into();
                let is_told = failure.verdict() == Verdict::No;
                Self { is_told, pid: Some(identity.pid), ..Self::failed(label, title, failure, object) }
            }
        }
    }

    /// Returns the socket, and of a service the directories in which it has others.
    pub(super) fn sockets(&self) -> impl Iterator<Item = PathBuf> {
        let path = |name: &str| self.object[name].as_str().map(PathBuf::from);
        let (directory, socket) = (path("directory"), path("socket"));
        // A path that is too long for a socket is in another directory of the service.
        let other =
            socket.as_deref().and_then(Path::parent).filter(|_| directory.is_some()).map(Path::to_owned);
        [directory, socket, other].into_iter().flatten()
    }

    fn failed(label: String, title: &'static str, failure: Failure, object: Value) -> Self {
        Self {
            title,
            style: AnsiColor::Red.on_default(),
            is_told: false,
            is_live: false,
            pid: None,
            release: None,
            uptime: None,
            status: None,
            memory: None,
            proof: None,
            is_outdated: false,
            cause: None,
            start_failure: None,
            note: Some(format!("{}: {}", safe(&label), failure.note())),
            failure: Some(failure),
            label,
            object,
        }
    }

    fn found(
        label: String,
        state: ServiceState,
        argument: &str,
        stopped: Option<u32>,
        mut object: Value,
    ) -> Self {
        let title = state.name();
        let proof = match &state {
            ServiceState::Live(daemon) => Some(level_name(daemon.proof().level)),
            _ => None,
        };
        let found = Found::of(state, argument, stopped);
        object["state"] = found.state.into();
        object["version"] = json!(found.version);
        object["build"] = json!(found.build);
        object["socket"] = json!(found.socket);
        let (is_live, cause) = (proof.is_some(), cause(&found));
        let style = match found.verdict {
            _ if found.state == "absent" => Style::new(),
            Verdict::Yes => AnsiColor::Green.on_default(),
            _ => AnsiColor::Yellow.on_default(),
        };
        let since_start = found.since.and_then(|since| SystemTime::now().duration_since(since).ok());
        Self {
            label,
            title,
            style,
            is_told: found.verdict != Verdict::Undecided,
            is_live,
            pid: found.pid,
            release: found.release,
            uptime: since_start.filter(|_| is_live),
            status: None,
            memory: None,
            proof,
            is_outdated: false,
            cause,
            start_failure: found.start_failure,
            note: None,
            failure: found.failure,
            object,
        }
    }

    /// Formats the row for the table.
    pub(super) fn cells(&self) -> [Cell; COLUMNS.len()] {
        let count = |count: fn(&ServerStatus) -> u64| self.told(self.status.as_ref().map(count));
        [
            Cell::new(&self.label),
            Cell::styled(self.title, self.style),
            Cell::new(or_none(self.pid)),
            Cell::new(format_args!(
                "{}{}",
                or_none(self.release.as_ref()),
                if self.is_outdated { " *" } else { "" }
            )),
            self.told(self.uptime.map(rough)),
            count(|status| status.connections_open),
            count(|status| status.requests_in_flight),
            #[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
            self.told(self.memory.map(|bytes| amount(bytes as f64))),
            Cell::new(or_none(self.proof)),
        ]
    }

    /// Returns the cell of a value that each live daemon has, whether it is told or not.
    fn told(&self, value: Option<impl Display>) -> Cell {
        if self.is_live && value.is_none() { Cell::new("unknown") } else { Cell::new(or_none(value)) }
    }

    /// Returns whether there is neither a daemon nor a fault.
    pub(super) fn is_absent(&self) -> bool {
        self.object["state"] == "absent"
    }

    /// Returns the row in JSON, with the time of the look.
    pub(super) fn object(&self, at: SystemTime) -> Value {
        let mut object = self.object.clone();
        object["at_unix_ms"] = unix_ms(at).into();
        object["label"] = json!(self.label);
        object["pid"] = json!(self.pid);
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        object["uptime_ms"] = json!(self.uptime.map(milliseconds));
        object["connections_open"] = json!(self.status.as_ref().map(|status| status.connections_open));
        object["requests_in_flight"] = json!(self.status.as_ref().map(|status| status.requests_in_flight));
        object["memory_bytes"] = json!(self.memory);
        object["proof"] = json!(self.proof);
        object["cause"] = json!(self.cause);
        object["is_outdated"] = json!(self.is_outdated);
        object["start_failure"] = json!(self.start_failure);
        if let Some(failure) = &self.failure {
            object["error"] = json!(failure.report());
        }
        object
    }
}

/// Returns why the daemon is to be restarted, if it is: the next start replaces it, or its program was replaced.
fn outdated(state: &ServiceState, decision: Option<&Decision>) -> Option<String> {
    let ServiceState::Live(daemon) = state else { return None };
    if let Some(decision @ Decision::Replace { .. }) = decision {
        return Some(format!("the next start {}", outlook(decision)));
    }
    (daemon.proof().image == ImageState::ReplacedOnDisk)
        .then(|| "its program was replaced or removed on disk since it was started".to_owned())
}

/// Returns the cause of a state; `None` if it is live or absent.
fn cause(found: &Found) -> Option<String> {
    if let Some(failure) = &found.failure {
        return Some(failure.sentence());
    }
    let process = found.pid.map_or_else(|| "its process".to_owned(), |pid| format!("process {pid}"));
    Some(match found.state {
        "live" | "absent" => return None,
        "starting" => "its daemon is being started, and does not serve yet".to_owned(),
        "draining" => format!("{process} ends, and serves no new connections"),
        "stale" => format!("{process} has ended and left its files, and the next start removes them"),
        "backing_off" => {
            let paused = found.until.map(until).unwrap_or_default();
            let last = found.start_failure.as_ref().map(|last| format!(": {}", last.message()));
            format!(
                "its starts have failed, and the next one is not before {paused}{}",
                last.unwrap_or_default()
            )
        }
        _ => format!("its state is {}", found.state),
    })
}

fn failed_start(failed: &FailedStart) -> String {
    format!("its last start has failed: {}", failed.message())
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Returns the state of a daemon whose proof failed with the error of this name, in JSON and for people.
fn unproven(error: &str) -> (&'static str, &'static str) {
    match error {
        "gone" | "reused_pid" | "other_boot" | "no_endpoint" | "no_listener" => ("stale", "stale"),
        "impostor" | "wrong_image" | "other_image" | "other_identity" | "no_probe_answer"
        | "not_a_socket" => ("impostor", "impostor"),
        "closed" | "timed_out" | "backlog_full" => ("busy", "busy"),
        "not_inspectable" | "other_namespace" => ("not_inspectable", "not inspectable"),
        _ => ("unknown", "unknown"),
    }
}
