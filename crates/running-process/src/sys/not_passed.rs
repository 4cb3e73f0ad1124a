//! Reasons why a service manager has passed nothing.

/// The reason why this process has no descriptors from a service manager (`sd_listen_fds(3)`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPassed {
    /// A variable of the protocol is missing from the environment: no service manager passed descriptors.
    #[error("{variable} is not set")]
    Unset {
        /// `LISTEN_PID` or `LISTEN_FDS`.
        variable: &'static str,
    },
    /// A variable of the protocol has an invalid value.
    #[error("{variable} is {value:?}, which is not a positive number")]
    Malformed {
        /// `LISTEN_PID` or `LISTEN_FDS`.
        variable: &'static str,
        /// The value of the variable.
        value: String,
    },
    /// The descriptors are for another process, whose environment this one has.
    #[error(
        "LISTEN_PID is {listen_pid} and this process is {pid}: whatever stands between must `exec` the daemon"
    )]
    OtherProcess {
        /// The process that they are for.
        listen_pid: u32,
        /// This process.
        pid: u32,
    },
}
