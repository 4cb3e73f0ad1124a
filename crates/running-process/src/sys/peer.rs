//! Who is at the other end of a local connection, as the operating system tells it.

use std::io;

use super::process::ProcessHandle;

/// How the operating system named a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // Each system has some of them.
pub(crate) enum PeerEvidence {
    /// By a pidfd, made by the kernel for the process itself: no number was looked up (Linux 6.5 and later).
    PidFd,
    /// By a number and a version of that number, which together mean one process (macOS).
    AuditToken,
    /// By the number of the process that made the pipe (Windows). It was looked up, and asked for once more after that.
    PipeServer,
    /// By a number, which was looked up, and asked for once more after that. If the process had exited before, and its
    /// number had been given away, this is another process: only its start time tells.
    Credentials,
}

/// A process at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub process: ProcessHandle,
    pub evidence: PeerEvidence,
    /// The user of the process, where the system says so along with its number. Of a listener it is the effective one,
    /// when it began to listen; of a writer the real one, when it wrote.
    pub uid: Option<u32>,
}

/// Who made a connection, by the numbers that the system kept for it. The process may have exited since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerUser {
    /// Its number here, if it has one.
    pub pid: Option<u32>,
    /// Its effective user; `None` where users have no numbers.
    pub uid: Option<u32>,
}

/// Why the process at the other end of a connection cannot be named.
#[derive(Debug, thiserror::Error)]
#[allow(dead_code)] // Each system has some of them.
pub(crate) enum PeerError {
    /// It has no number here, so it cannot be one that is known by its number.
    #[error("the process at the other end is in another pid namespace")]
    OtherNamespace,
    #[error("process {pid} at the other end has exited")]
    Gone {
        /// The number that the process had.
        pid: u32,
    },
    /// Nobody had asked the system to note the writer when the bytes were written.
    #[error("the system did not note who wrote the bytes")]
    NotNoted,
    #[error("this system does not name the process at the other end")]
    Unsupported,
    #[error("the process at the other end could not be asked for")]
    Io(#[source] io::Error),
}

/// Whether calls are used that only newer systems have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PidfdPolicy {
    /// They are, where the system has them.
    Use,
    /// They are not: everything is as on Linux before 6.5.
    Avoid,
}

/// Takes hold of the process that `ask` names by its number, `pid_of` the answer, and looks twice: after the process is
/// held, `ask` must say the same, and the process be alive with the same start time.
#[allow(dead_code)] // Not all systems name processes by their numbers.
pub(super) fn hold<T: PartialEq>(
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
        // It is alive, and who wants to know more of it will be told the same.
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
