//! The state of a service as commands show it.

use crate::failure::Failure;
use crate::failure::advice::{Advice, impostor, service as advice};
use crate::failure::start::FailedStart;
use crate::release::release;
use crate::verdict::Verdict;
use running_process::broker::service::{Service, ServiceSocket, ServiceState};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A state as it is shown.
pub(super) struct Found {
    /// Name in JSON.
    pub(super) state: &'static str,
    pub(super) verdict: Verdict,
    pub(super) pid: Option<u32>,
    pub(super) version: Option<String>,
    pub(super) build: Option<String>,
    /// Version and build in one text.
    pub(super) release: Option<String>,
    pub(super) since: Option<SystemTime>,
    pub(super) until: Option<SystemTime>,
    pub(super) socket: Option<String>,
    pub(super) start_failure: Option<FailedStart>,
    /// The reason why it is not told whether the daemon runs, or why it cannot be started.
    pub(super) failure: Option<Failure>,
}

impl Found {
    /// Returns the state for people and programs; `argument` names the service in hints, and `stopped` is the daemon's process if a
    /// signal has [stopped](stopped) it.
    pub(super) fn of(state: ServiceState, argument: &str, stopped: Option<u32>) -> Self {
        let no = |state| Self {
            state,
            verdict: Verdict::No,
            pid: None,
            version: None,
            build: None,
            release: None,
            since: None,
            until: None,
            socket: None,
            start_failure: None,
            failure: None,
        };
        let failed = |state, pid, failure: Failure| Self {
            verdict: failure.verdict(),
            pid,
            failure: Some(failure),
            ..no(state)
        };
        match state {
            ServiceState::Absent => no("absent"),
            ServiceState::Starting { by, since } => Self { pid: by, since, ..no("starting") },
            ServiceState::BackingOff { until, failure } => Self {
                until: Some(until),
                start_failure: failure.as_ref().map(FailedStart::from),
                ..no("backing_off")
            },
            ServiceState::Live(daemon) => {
                let daemon = daemon.daemon_process;
                Self {
                    verdict: Verdict::Yes,
                    pid: Some(daemon.pid),
                    version: daemon.version().map(str::to_owned),
                    build: daemon.build().map(str::to_owned),
                    release: release(&daemon),
                    since: UNIX_EPOCH.checked_add(Duration::from_millis(daemon.started_at_unix_ms)),
                    socket: Some(daemon.ipc_endpoint.path),
                    ..no("live")
                }
            }
            ServiceState::Busy { pid } if stopped == Some(pid) => {
                let advice = Advice::undecided("timed_out").hint(advice::stopped(pid));
                failed(
                    "busy",
                    Some(pid),
                    Failure::new(format!("process {pid} is stopped by a signal"), advice),
                )
            }
            ServiceState::Busy { pid } => {
                let advice = Advice::undecided("timed_out").hint(advice::busy(argument));
                failed(
                    "busy",
                    Some(pid),
                    Failure::new(format!("process {pid} lives and did not prove itself in time"), advice),
                )
            }
            ServiceState::Draining { pid } => Self { pid, ..no("draining") },
            ServiceState::Stale { pid } => Self { pid: Some(pid), ..no("stale") },
            ServiceState::HeldByOrphan { pid } => {
                let error = "no daemon runs, and another process holds its lock";
                failed("held_by_orphan", pid, Failure::new(error, advice::held_by_orphan(pid)))
            }
            ServiceState::Impostor(error) => failed("impostor", None, Failure::new(error, impostor(stopped))),
            ServiceState::NotInspectable(error) => {
                let advice = advice::not_inspectable(&error);
                failed("not_inspectable", None, Failure::new(error, advice))
            }
            _ => Self { verdict: Verdict::Undecided, ..no("other") },
        }
    }
}

/// Returns the daemon's process if a signal has stopped it, which explains `state`.
pub(super) fn stopped(service: &Service, state: &ServiceState) -> Option<u32> {
    let is_explained = matches!(state, ServiceState::Busy { .. } | ServiceState::Impostor(_));
    is_explained.then(|| service.stopped_process()).flatten()
}

/// Returns the socket of `sockets` at `path`, that of the service, if it is not of a daemon, since the service in `state` has none, nor of
/// its service manager.
pub(super) fn foreign_listener<'a>(
    service: &Service,
    path: &Path,
    state: &ServiceState,
    sockets: &'a [ServiceSocket],
) -> Option<&'a ServiceSocket> {
    if !matches!(state, ServiceState::Absent | ServiceState::Stale { .. } | ServiceState::BackingOff { .. }) {
        return None;
    }
    // They were listed before the look at the state.
    let found = sockets
        .iter()
        .find(|found| found.is_at(path) && found.is_reachable != Some(false) && path.exists())?;
    matches!(service.activation(), Ok(None)).then_some(found)
}
