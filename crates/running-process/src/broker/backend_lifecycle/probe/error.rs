//! Reasons why there is no proof. Text that a peer or a file chose is quoted in the messages.

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

/// Why a daemon did not prove itself. Nothing of the caller's was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The environment asks for the legacy path.
    #[error("probes are switched off by {DISABLE_VARIABLE}=1")]
    Disabled,
    /// The record is of a daemon at another endpoint than the one to probe.
    #[error("asked to probe {asked:?}, the record is of a daemon at {recorded:?}")]
    EndpointMismatch {
        /// The path or pipe name that was asked for.
        asked: String,
        /// The path or pipe name in the record.
        recorded: String,
    },
    /// The record is from another boot of the machine: no process of it can be alive.
    #[error("the record is of boot {recorded:?}, this is boot {current:?}")]
    OtherBoot {
        /// The boot in the record.
        recorded: String,
        /// The boot that this is.
        current: String,
    },
    /// The daemon lives in another pid namespace, in which its pid means another process.
    #[error("process {pid} of the record is in another pid namespace")]
    OtherNamespace {
        /// The recorded pid, which means nothing here.
        pid: u32,
    },
    /// The recorded process is not alive.
    #[error("process {pid} is gone: {how}")]
    Gone {
        /// The recorded pid.
        pid: u32,
        /// What there is instead.
        how: Absence,
    },
    /// The pid has been given to another process since the record was written.
    #[error(
        "pid {pid} was used again: its process started {}, the record says {}",
        started(*found),
        started(*recorded)
    )]
    ReusedPid {
        /// The recorded pid.
        pid: u32,
        /// The kernel's start time in the record.
        recorded: u64,
        /// The kernel's start time of the process that has the pid now.
        found: u64,
    },
    /// The operating system does not let this process look at the daemon's; it may well be alive.
    #[error("process {pid} cannot be inspected")]
    NotInspectable {
        /// The recorded pid.
        pid: u32,
        /// What the operating system said.
        source: io::Error,
    },
    /// The endpoint could not be connected to.
    #[error("no connection to the daemon")]
    Connect(#[from] ConnectError),
    /// The kernel names another process at the other end of the connection.
    #[error("{}", describe_impostor(*role, *pid, image.as_deref(), *expected))]
    Impostor {
        /// What that process did.
        role: PeerRole,
        /// Its pid.
        pid: u32,
        /// What it runs; `None` if it has ended or does not let itself be looked at.
        image: Option<PathBuf>,
        /// The recorded pid.
        expected: u32,
    },
    /// The process has the recorded pid and runs something else.
    #[error("the process runs {path:?}, whose {check}")]
    WrongImage {
        /// Where the file stands that it runs.
        path: PathBuf,
        /// The digests.
        check: Check,
    },
    /// The process ran the recorded image when it was looked at, and another one after it had answered: it has replaced
    /// itself by `exec`.
    #[error("process {pid} runs another image by now than the one that was proven")]
    OtherImage {
        /// The recorded pid.
        pid: u32,
    },
    /// Everything that was checked is right, and the caller's policy asks for more.
    #[error(transparent)]
    Policy(#[from] PolicyRule),
    /// Nothing usable came before the deadline.
    #[error("the daemon did not prove itself in time")]
    TimedOut,
    /// The peer ended the connection instead of answering. A verification has found the recorded process alive then, and
    /// where the system names listeners that it listens: the daemon has as many connections as it allows, or is ending. One
    /// that has ended is [`Gone`](Self::Gone).
    #[error("the daemon closed the connection instead of answering the probe")]
    Closed,
    /// The connection, or a question to the operating system, failed.
    #[error("the probe failed")]
    Stream(#[source] io::Error),
    /// What came is not a frame.
    #[error("the answer to the probe is not a frame")]
    Framing(#[from] FramingError),
    /// The frame is not an answer to the challenge.
    #[error("the answer to the probe cannot be used")]
    Response(#[from] EndpointProbeError),
    /// More than the answer came: the connection is not the caller's to go on with.
    #[error("{bytes} bytes came behind the answer to the probe, which nobody asked for")]
    Unasked {
        /// How many.
        bytes: usize,
    },
    /// The recorded process answered with another identity than the record's.
    #[error(transparent)]
    Mismatch(#[from] IdentityMismatch),
}

/// How a recorded process is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Absence {
    /// No process has its pid.
    #[error("no process has that pid")]
    NoSuchProcess,
    /// It has exited, and its parent has not noticed (a zombie).
    #[error("it has exited and its parent has not noticed yet")]
    Exited,
    /// It was alive when the probe began.
    #[error("it ended during the probe")]
    DuringProbe,
}

/// What a process at the other end of a connection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerRole {
    /// It made the socket listen.
    Listener,
    /// It wrote the answer to the probe.
    Writer,
}

/// What a policy asks for and a daemon does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyRule {
    /// The kernel does not name the daemon well enough.
    #[error("the daemon is {got}, the policy asks for {weakest}")]
    Level {
        /// How it is named.
        got: ProofLevel,
        /// What is asked for.
        weakest: ProofLevel,
    },
    /// The record has no start time and no instance id.
    #[error("the record has no start time, and the policy asks for one")]
    WithoutOrigin,
    /// Another file stands at the executable's path by now, or none.
    #[error("the daemon's executable was replaced on disk, and the policy does not accept that")]
    ReplacedOnDisk,
    /// The daemon runs another file than the caller.
    #[error("the daemon runs another file than this process, and the policy asks for the same")]
    NotTheCallersImage,
    /// Another process made the daemon's socket, and this system does not say who answers on it.
    #[error("another process made the socket, and this system does not name who answers on it")]
    InheritedListener,
}

#[expect(clippy::unnecessary_debug_formatting, reason = "quotes what the impostor chose")]
fn describe_impostor(role: PeerRole, pid: u32, image: Option<&Path>, expected: u32) -> String {
    let image = image.map_or_else(String::new, |image| format!(" ({image:?})"));
    let did = match role {
        PeerRole::Listener => "listens at the endpoint",
        PeerRole::Writer => "answered the probe",
    };
    format!("process {pid}{image} {did}, the record names process {expected}")
}

/// The identity that answered is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityMismatch {
    /// Every comparison, those that agree included.
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
