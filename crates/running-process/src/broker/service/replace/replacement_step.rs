use crate::broker::service::state::named;
use crate::broker::service::stop::Stopped;
use std::fmt;

/// A step of a replacement, told when it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplacementStep {
    /// Another process replaces the daemon. Its end is waited for.
    Waits {
        /// The other process; `None` if the system does not tell.
        by: Option<u32>,
    },
    /// The daemon hands its endpoint over to the next one, and serves until that does.
    HandsOver {
        /// The process of the daemon.
        pid: u32,
        /// Its version; `None` if it has none, or was not proven.
        version: Option<String>,
    },
    /// The daemon is asked to end before the next one is started.
    Stops {
        /// The process of the daemon.
        pid: u32,
        /// Its version; `None` if it has none, or was not proven.
        version: Option<String>,
        /// The reason why it does not hand its endpoint over.
        reason: StopReason,
    },
    /// The daemon has ended.
    Stopped(Stopped),
    /// The daemon has ended by itself, or drains, before the next one was ready.
    Lost {
        /// The process of the daemon.
        pid: u32,
    },
    /// The process of the next daemon runs.
    Runs {
        /// The process.
        pid: u32,
    },
    /// The next daemon has reported its progress.
    Status {
        /// The report: a line of at most 200 bytes without control characters.
        text: String,
    },
    /// The next daemon is proven, and serves.
    Serves {
        /// The process of the daemon.
        pid: u32,
        /// Its version; `None` if it has none, or was not proven.
        version: Option<String>,
    },
    /// The daemon before it finishes what it has accepted, and ends then.
    Drains {
        /// The process of the daemon before it.
        pid: u32,
    },
}

/// The reason why a daemon is stopped before the next one is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The caller or its policy wants it so.
    Asked,
    /// The daemon hands no endpoint over: another program, or one with an older library.
    NoHandover,
    /// The socket is a service manager's, which starts the next daemon. Clients that connect meanwhile wait there.
    Activated,
    /// The daemon does not answer in time.
    Busy,
}

impl fmt::Display for StopReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Asked => "the next daemon is to start after it has ended",
            Self::Activated => "its socket stays with its service manager, which starts the next daemon",
            Self::NoHandover => "it cannot hand its endpoint over",
            Self::Busy => "it does not answer in time",
        })
    }
}

impl fmt::Display for ReplacementStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits { by } => write!(formatter, "{} replaces the daemon: waiting for it", named(*by)),
            Self::HandsOver { pid, version } => {
                write!(
                    formatter,
                    "{} serves, and hands its endpoint over to the next daemon",
                    process(*pid, version.as_deref())
                )
            }
            Self::Stops { pid, version, reason } => {
                let process = process(*pid, version.as_deref());
                write!(formatter, "{process} serves, and is asked to end first: {reason}")
            }
            Self::Stopped(Stopped::NotRunning) => formatter.write_str("no daemon runs"),
            Self::Stopped(Stopped::Ended { pid }) => write!(formatter, "process {pid} has ended"),
            Self::Stopped(Stopped::Killed { pid }) => {
                write!(formatter, "process {pid} did not end when it was asked, and was killed")
            }
            Self::Lost { pid } => write!(formatter, "process {pid} ends by itself"),
            Self::Runs { pid } => write!(formatter, "process {pid} is started"),
            Self::Status { text } => write!(formatter, "it reports: {text}"),
            Self::Serves { pid, version } => {
                write!(formatter, "{} serves", process(*pid, version.as_deref()))
            }
            Self::Drains { pid } => {
                write!(formatter, "process {pid} finishes what it has accepted, and ends then")
            }
        }
    }
}

fn process(pid: u32, version: Option<&str>) -> String {
    version.map_or_else(|| format!("process {pid}"), |version| format!("process {pid} of version {version}"))
}
