//! Reasons why there is no proof. The messages quote text that a peer or a file chose.

use super::client::EndpointProbeError;
use crate::broker::backend_lifecycle::DISABLE_VARIABLE;
use crate::broker::backend_lifecycle::identity::started;
use crate::broker::backend_lifecycle::judge::Check;
use crate::broker::backend_lifecycle::verify::ProofLevel;
use crate::broker::protocol::FramingError;
use crate::transport::ConnectError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why a daemon did not prove itself. Nothing of the caller's was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The environment asks for the legacy path.
    #[error("probes are switched off by {DISABLE_VARIABLE}=1")]
    Disabled,
    /// The identity file is that of a daemon at another endpoint than the one to probe.
    #[error("asked to probe {asked:?}, the identity is of a daemon at {recorded:?}")]
    EndpointMismatch {
        /// The path or pipe name that the caller passed.
        asked: String,
        /// The path or pipe name in the identity file.
        recorded: String,
    },
    /// The identity file is from another boot of the machine: its process cannot be alive.
    #[error("the identity is of boot {recorded:?}, this is boot {current:?}")]
    OtherBoot {
        /// The boot in the identity file.
        recorded: String,
        /// The present boot.
        current: String,
    },
    /// The daemon runs in another pid namespace, in which its pid means another process.
    #[error("process {pid} of the identity is in another pid namespace")]
    OtherNamespace {
        /// The recorded pid, which has no meaning here.
        pid: u32,
    },
    /// The recorded process is not alive.
    #[error("process {pid} is gone: {how}")]
    Gone {
        /// The recorded pid.
        pid: u32,
        /// The way in which it is absent.
        how: Absence,
    },
    /// The pid has been given to another process since the identity file was written.
    #[error(
        "pid {pid} was used again: its process started {}, the identity says {}",
        started(*found),
        started(*recorded)
    )]
    ReusedPid {
        /// The recorded pid.
        pid: u32,
        /// The kernel's start time in the identity file.
        recorded: u64,
        /// The kernel's start time of the process that has the pid now.
        found: u64,
    },
    /// The operating system does not let this process examine the daemon's; it may well be alive.
    #[error("process {pid} cannot be inspected")]
    NotInspectable {
        /// The recorded pid.
        pid: u32,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The endpoint could not be connected to.
    #[error("no connection to the daemon")]
    Connect(#[from] ConnectError),
    /// The kernel names another process at the other end of the connection.
    #[error("{}", describe_impostor(*role, *pid, image.as_deref(), *expected))]
    Impostor {
        /// The role of that process.
        role: PeerRole,
        /// The pid of that process.
        pid: u32,
        /// The image of that process; `None` if it has ended or cannot be examined.
        image: Option<PathBuf>,
        /// The recorded pid.
        expected: u32,
    },
    /// The process has the recorded pid and runs another image.
    #[error("the process runs {path:?}, whose {check}")]
    WrongImage {
        /// The path of the image that it runs.
        path: PathBuf,
        /// The comparison of the digests.
        check: Check,
    },
    /// The process ran the recorded image when it was inspected, and another one after it had answered: it has replaced
    /// itself by `exec`.
    #[error("process {pid} runs another image by now than the one that was proven")]
    OtherImage {
        /// The recorded pid.
        pid: u32,
    },
    /// All checks passed, but the caller's policy asks for more.
    #[error(transparent)]
    Policy(#[from] PolicyRule),
    /// No usable answer arrived before the deadline.
    #[error("the daemon did not prove itself in time")]
    TimedOut,
    /// The peer closed the connection instead of answering. A verification has then found the recorded process alive
    /// and, where the system names listeners, listening: the daemon has as many connections as it allows, or is ending.
    /// A process that has ended is [`Gone`](Self::Gone).
    #[error("the daemon closed the connection instead of answering the probe")]
    Closed,
    /// The connection or another system call failed.
    #[error("the probe failed")]
    Stream(#[source] io::Error),
    /// The received bytes are not a frame.
    #[error("the answer to the probe is not a frame")]
    Framing(#[from] FramingError),
    /// The frame is not an answer to the challenge.
    #[error("the answer to the probe cannot be used")]
    Response(#[from] EndpointProbeError),
    /// Bytes arrived after the answer, so the caller cannot go on with the connection.
    #[error("{bytes} unexpected bytes came after the answer to the probe")]
    Unasked {
        /// Number of these bytes.
        bytes: usize,
    },
    /// The recorded process answered with another identity than that of the identity file.
    #[error(transparent)]
    Mismatch(#[from] IdentityMismatch),
}

/// The way in which a recorded process is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Absence {
    /// No process has its pid.
    #[error("no process has that pid")]
    NoSuchProcess,
    /// It has exited, and its parent has not waited for it (a zombie).
    #[error("it has exited and its parent has not waited for it yet")]
    Exited,
    /// It was alive when the probe began.
    #[error("it ended during the probe")]
    DuringProbe,
}

/// The role of a process at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerRole {
    /// It called `listen` on the socket.
    Listener,
    /// It wrote the answer to the probe.
    Writer,
}

/// A demand of a policy that a daemon does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyRule {
    /// The kernel does not name the daemon well enough.
    #[error("the daemon is {got}, the policy asks for {weakest}")]
    Level {
        /// The level at which it is named.
        got: ProofLevel,
        /// The level that the policy asks for.
        weakest: ProofLevel,
    },
    /// The identity file has no start time and no instance id.
    #[error("the identity has no start time, and the policy asks for one")]
    WithoutOrigin,
    /// Another file, or none, is at the executable's path by now.
    #[error("the daemon's executable was replaced on disk, and the policy does not accept that")]
    ReplacedOnDisk,
    /// The daemon runs another file than the caller.
    #[error("the daemon runs another file than this process, and the policy asks for the same")]
    NotTheCallersImage,
    /// Another process made the daemon's socket, and this system does not name the process that answers on it.
    #[error("another process made the socket, and this system does not name the process that answers on it")]
    InheritedListener,
}

#[expect(clippy::unnecessary_debug_formatting, reason = "quotes what the impostor chose")]
fn describe_impostor(role: PeerRole, pid: u32, image: Option<&Path>, expected: u32) -> String {
    let image = image.map_or_else(String::new, |image| format!(" ({image:?})"));
    let did = match role {
        PeerRole::Listener => "listens at the endpoint",
        PeerRole::Writer => "answered the probe",
    };
    format!("process {pid}{image} {did}, the identity names process {expected}")
}

/// The difference between the identity in the answer and the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityMismatch {
    /// All comparisons, those that agree included.
    pub checks: Vec<Check>,
}

impl fmt::Display for IdentityMismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("another identity answered")?;
        let mut separator = ": ";
        for check in self.checks.iter().filter(|check| !check.agrees) {
            write!(formatter, "{separator}{check}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for IdentityMismatch {}
