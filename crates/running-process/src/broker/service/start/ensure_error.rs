//! The reasons why a client has no daemon, or could not replace it: each can be the cause of the other.

use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::service::find_error::FindError;
use crate::broker::service::history::StartFailure;
use crate::broker::service::place_error::PlaceError;
use crate::broker::service::state::named;
use crate::broker::service::stop::StopError;
use crate::broker::service::upgrade::{Refusal, RefuseReason, Release};
use std::io;
use std::time::SystemTime;

/// The reason why a client has no daemon. Nothing of the caller's was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnsureError {
    /// The state of the service cannot be told.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A daemon is to be started, and the service has no command for that.
    #[error("the service has no command to start a daemon")]
    NoCommand,
    /// The program of the command is in no directory of `PATH`.
    #[error("the program {program:?} of the service is in no directory of PATH")]
    NoProgram {
        /// The program as the service names it.
        program: String,
    },
    /// The daemon was started and failed, or could not be started. Every client that waited gets the same failure.
    #[error("the start of the daemon failed: {0}")]
    StartFailed(StartFailure),
    /// Several starts in a row have failed: nothing is started for a while.
    #[error("the daemon has failed to start several times, and is not started again for {}{}", left(*until), last(failure.as_ref()))]
    BackingOff {
        /// When the next start is allowed.
        until: SystemTime,
        /// The last failure.
        failure: Option<StartFailure>,
    },
    /// A file of the service cannot be made.
    #[error("a file of the service cannot be written")]
    Files(#[source] io::Error),
    /// The process of the daemon cannot be watched or ended.
    #[error("the process of the daemon cannot be watched")]
    Process(#[source] io::Error),
    /// Another process than the daemon answers at its socket. Nothing was started: it would be found by nobody.
    #[error("another process than the daemon answers at its socket")]
    Impostor(#[source] ProbeError),
    /// The daemon cannot be examined from here; it may well run.
    #[error("the daemon cannot be examined from here")]
    NotInspectable(#[source] ProbeError),
    /// The daemon has ended, and a process that got its descriptors holds its lock.
    #[error("no daemon runs, and {} holds its lock: a child that the daemon started; end that process", named(*pid))]
    HeldByOrphan {
        /// The process that holds the lock; `None` if the system does not tell.
        pid: Option<u32>,
    },
    /// The daemon that runs is not of the version that this client wants, and is neither used nor replaced, as the service's
    /// [`UpgradePolicy`](crate::broker::service::UpgradePolicy) has it. It serves on.
    #[error("{}", Refusal { running, wanted, reason })]
    ReplacementRefused {
        /// The release of the daemon that runs.
        running: Release,
        /// The release that this client wants.
        wanted: Release,
        /// The reason.
        reason: Box<RefuseReason>,
    },
    /// The daemon that runs is not of the version that this client wants, and its replacement failed. It serves on, unless the
    /// source says that it was stopped. The failure counts against the bound of the service's
    /// [`UpgradePolicy`](crate::broker::service::UpgradePolicy).
    #[error("the daemon of {running} was not replaced by {wanted}, which this client wants")]
    ReplacementFailed {
        /// The release of the daemon that ran.
        running: Release,
        /// The release that this client wants.
        wanted: Release,
        /// The reason.
        source: Box<ReplaceError>,
    },
    /// The deadline passed first.
    #[error("the daemon did not serve in time: it is {state}{}", detail.as_deref().map_or_else(String::new, |text| format!(" ({text})")))]
    TimedOut {
        /// The name of the state at that moment, as [`ServiceState::name`](crate::broker::service::ServiceState::name) tells it.
        state: &'static str,
        /// The process, or the progress that the daemon has reported.
        detail: Option<String>,
    },
}

/// The reason why a daemon was not replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The state of the service cannot be told.
    #[error(transparent)]
    Find(#[from] FindError),
    /// Another process replaced the daemon until the deadline. This call has changed nothing.
    #[error("{} replaces the daemon, and was not done in time", named(*by))]
    TimedOut {
        /// The process that replaces the daemon, or that has got its lock; `None` if the system does not tell.
        by: Option<u32>,
    },
    /// [`Replacement::Handover`](crate::broker::service::Replacement::Handover) was asked for, and this system passes no endpoint on.
    #[error(
        "this system passes no endpoint on to the next daemon: the daemon that runs can only be stopped first"
    )]
    NoHandover,
    /// It is not proven which process is the daemon, so none was stopped.
    #[error("it is not proven which process is the daemon, so none was stopped")]
    NotProven(#[source] ProbeError),
    /// The daemon was not stopped in time, so none was started. It may have been asked to end.
    #[error("the daemon was not stopped as it should, so the next one was not started")]
    NotStopped(#[from] StopError),
    /// The daemon was to hand its endpoint over, and the next daemon did not take it. The daemon that runs goes on.
    #[error("process {pid} serves as before: the next daemon did not take its place: {failure}")]
    NotHandedOver {
        /// The daemon that runs.
        pid: u32,
        /// The failure of the next daemon.
        failure: StartFailure,
    },
    /// The daemon was to hand its endpoint over, and the next daemon could not be started, or was not ready by the deadline. Then
    /// that goes on. The daemon that ran serves until the next one is ready.
    #[error("process {pid} was not replaced: the next daemon was not ready")]
    NotReady {
        /// The daemon that runs.
        pid: u32,
        /// The failure of the start.
        source: EnsureError,
    },
    /// The next daemon did not start.
    #[error("{}", not_started(*former_pid))]
    NotStarted {
        /// The daemon that was stopped for it; `None` if none ran or it was not stopped.
        former_pid: Option<u32>,
        /// The failure of the start.
        source: EnsureError,
    },
}

fn not_started(former_pid: Option<u32>) -> String {
    former_pid.map_or_else(
        || "the daemon did not start".to_owned(),
        |pid| format!("no daemon runs: process {pid} has ended, and the next daemon did not start"),
    )
}

impl From<PlaceError> for EnsureError {
    fn from(error: PlaceError) -> Self {
        Self::Find(error.into())
    }
}

fn left(until: SystemTime) -> String {
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    format!("{}s", left.as_secs_f32().ceil())
}

fn last(failure: Option<&StartFailure>) -> String {
    failure.map_or_else(String::new, |failure| format!("; last: {failure}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::service::history::StartEnd;
    use std::time::Duration;

    #[test]
    fn a_pause_is_told_with_its_rest_and_the_last_failure() {
        let until = SystemTime::now() + Duration::from_hours(1);
        let failure = StartFailure { end: StartEnd::Exited { status: 3 }, log: String::new() };
        let told = |failure| EnsureError::BackingOff { until, failure }.to_string();
        let start = "the daemon has failed to start several times, and is not started again for 3600s";
        assert_eq!(told(None), start);
        assert_eq!(
            told(Some(failure)),
            format!("{start}; last: the daemon exited with status 3 before it served")
        );
    }
}
