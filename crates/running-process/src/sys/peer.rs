//! The process at the other end of a local connection, as the operating system names it.

use std::io;

use super::process::ProcessHandle;

/// The way in which the operating system named a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // Each system has some of them.
pub(crate) enum PeerEvidence {
    /// A pidfd that the kernel made for the process itself: no number was looked up (Linux 6.5 and later).
    PidFd,
    /// A number and its version, which together mean one process (macOS).
    AuditToken,
    /// The number of the process that made the pipe (Windows). It was looked up twice, before and after the process was
    /// opened.
    PipeServer,
    /// A number that was looked up twice, before and after the process was opened. If the process had exited before and
    /// its number had been given away, this is another process: only its start time tells.
    Credentials,
}

/// A process at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub process: ProcessHandle,
    pub evidence: PeerEvidence,
    /// The user of the process, where the system reports it along with the number. Of a listener it is the effective
    /// user when it began to listen; of a writer the real user when it wrote.
    pub uid: Option<u32>,
}

/// The process and the user that made a connection, as the system recorded them. The process may have exited since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerUser {
    /// The number of the process here, if it has one.
    pub pid: Option<u32>,
    /// The effective user; `None` where users have no numbers.
    pub uid: Option<u32>,
}

/// The reason why the process at the other end of a connection cannot be named.
#[derive(Debug, thiserror::Error)]
#[allow(dead_code)] // Each system has some of them.
pub(crate) enum PeerError {
    /// The process has no number here, so it cannot be one that is known by its number.
    #[error("the process at the other end is in another pid namespace")]
    OtherNamespace,
    #[error("process {pid} at the other end has exited")]
    Gone {
        /// The number that the process had.
        pid: u32,
    },
    /// The system was not asked to note the writer before the bytes were written.
    #[error("the system did not note the writer of the bytes")]
    NotNoted,
    #[error("this system does not name the process at the other end")]
    Unsupported,
    #[error("the process at the other end could not be asked for")]
    Io(#[source] io::Error),
}

/// The use of calls that only newer kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PidfdPolicy {
    /// Uses them where the kernel has them.
    Use,
    /// Does without them, as on Linux before 6.5.
    Avoid,
}

/// Opens the process that `ask` names by its number, which `pid_of` extracts. Then checks that `ask` names the same
/// process again, and that the process is alive with the same start time.
#[allow(dead_code)] // Not all systems name processes by their numbers.
pub(super) fn open_named<T: PartialEq>(
    ask: impl Fn() -> Result<T, PeerError>,
    pid_of: impl Fn(&T) -> u32,
) -> Result<(ProcessHandle, T), PeerError> {
    let answer = ask()?;
    let pid = pid_of(&answer);
    if pid == 0 {
        return Err(PeerError::OtherNamespace);
    }
    let Some(process) = ProcessHandle::open(pid).map_err(PeerError::Io)? else {
        return Err(PeerError::Gone { pid });
    };
    let start_time = || match process.0.start_time() {
        Ok(start_time) => Ok(Some(start_time)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PeerError::Gone { pid }),
        // The process is alive. A caller that needs its start time gets the same error.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            Ok(None)
        }
        Err(error) => Err(PeerError::Io(error)),
    };
    let first = start_time()?;
    if ask()? == answer && start_time()? == first {
        Ok((process, answer))
    } else {
        Err(PeerError::Gone { pid })
    }
}
