use super::history::StartFailure;
use crate::broker::backend_handle::BackendHandle;
use crate::broker::backend_lifecycle::probe::ProbeError;
use std::time::SystemTime;

/// The state of a service, as [`Service::find`](super::Service::find) finds it.
///
/// ```
/// use running_process::Service;
/// use running_process::broker::service::ServiceState;
/// use std::time::{Duration, Instant};
///
/// # #[cfg(unix)] {
/// let directory = tempfile::tempdir()?;
/// let cache = Service::new("cache")?.below(directory.path().join("services"));
/// match cache.find(Instant::now() + Duration::from_secs(5))? {
///     ServiceState::Absent => {} // `ensure` would start it
///     ServiceState::Live(handle) => panic!("process {} serves", handle.daemon_process.pid),
///     other => panic!("{other:?}"),
/// }
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceState {
    /// No daemon runs, and none is being started.
    Absent,
    /// A daemon is being started.
    Starting {
        /// The process that starts it, or the daemon itself if that process has ended; `None` if the system does not tell.
        by: Option<u32>,
        /// When the start began.
        since: Option<SystemTime>,
    },
    /// No daemon runs, and several starts in a row have failed: nothing is started before `until`.
    BackingOff {
        /// When the next start is allowed.
        until: SystemTime,
        /// The last failure.
        failure: Option<StartFailure>,
    },
    /// The daemon runs and has proven itself.
    Live(Box<BackendHandle>),
    /// The daemon lives and did not prove itself in time. It is neither replaced nor ended for that.
    Busy {
        /// The process in the identity file.
        pid: u32,
    },
    /// The daemon finishes what it has accepted, and accepts nothing more.
    Draining {
        /// The process that drains; `None` if the system does not tell.
        pid: Option<u32>,
    },
    /// No daemon runs. One ended without cleaning up, and the next start replaces what it left.
    Stale {
        /// The process in the identity file.
        pid: u32,
    },
    /// The daemon has ended, and a child of it, or another process that got its descriptors, holds the lock. No daemon
    /// starts before that process ends.
    HeldByOrphan {
        /// The process that holds the lock; `None` if the system does not tell.
        pid: Option<u32>,
    },
    /// Another process than the daemon in the identity file answers at its socket, or it runs another image.
    Impostor(ProbeError),
    /// The daemon cannot be examined from here; it may well run.
    NotInspectable(ProbeError),
}

impl ServiceState {
    /// Returns the process of the state, if there is one and the system tells.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Starting { by: pid, .. } | Self::Draining { pid } | Self::HeldByOrphan { pid } => *pid,
            Self::Live(daemon) => Some(daemon.daemon_process.pid),
            Self::Busy { pid } | Self::Stale { pid } => Some(*pid),
            Self::Absent | Self::BackingOff { .. } | Self::Impostor(_) | Self::NotInspectable(_) => None,
        }
    }

    /// Returns the name of the state as the command prints it, such as `live` or `backing off`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting { .. } => "starting",
            Self::BackingOff { .. } => "backing off",
            Self::Live(_) => "live",
            Self::Busy { .. } => "busy",
            Self::Draining { .. } => "draining",
            Self::Stale { .. } => "stale",
            Self::HeldByOrphan { .. } => "held by an orphan",
            Self::Impostor(_) => "impostor",
            Self::NotInspectable(_) => "not inspectable",
        }
    }
}

/// Returns a process for people.
pub(super) fn named(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
