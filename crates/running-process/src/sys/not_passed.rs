//! Reasons why a service manager has passed nothing.

/// Why this process has no descriptors from a service manager (`sd_listen_fds(3)`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPassed {
    /// A variable of the protocol is missing from the environment: whoever started this process passed nothing.
    #[error("{variable} is not set")]
    Unset {
        /// `LISTEN_PID` or `LISTEN_FDS`.
        variable: &'static str,
    },
    /// A variable of the protocol has no meaning.
    #[error("{variable} is {value:?}, which is not a positive number")]
    Malformed {
        /// `LISTEN_PID` or `LISTEN_FDS`.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// The descriptors are another process's, and this one has its environment only.
    #[error(
        "LISTEN_PID is {listen_pid} and this process is {pid}: whatever stands between must `exec` the daemon"
    )]
    OtherProcess {
        /// Whose they are.
        listen_pid: u32,
        /// This process.
        pid: u32,
    },
}
