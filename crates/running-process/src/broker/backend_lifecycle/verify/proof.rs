use super::policy::ProofLevel;
use std::fmt;

/// One step of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepKind {
    /// The recorded pid names a live process, of the recorded start time where the record has one.
    Process,
    /// Record and machine are of the same boot.
    Boot,
    /// Record and caller are in the same pid namespace.
    Namespace,
    /// The endpoint was connected to.
    Connection,
    /// Which process listens at the other end of this connection.
    Listener,
    /// A fresh challenge was answered with the recorded identity.
    Answer,
    /// Which process wrote the answer.
    Writer,
    /// What the process runs.
    Image,
    /// The process was alive after everything else.
    Alive,
}

impl fmt::Display for StepKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Process => "process",
            Self::Boot => "boot",
            Self::Namespace => "pid namespace",
            Self::Connection => "connection",
            Self::Listener => "listener",
            Self::Answer => "answer",
            Self::Writer => "writer",
            Self::Image => "image",
            Self::Alive => "alive",
        })
    }
}

/// What a step is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepVerdict {
    /// The kernel says so; of a step with a digest, together with the file that was read or its cached digest.
    Proven,
    /// The peer says so, or a file of the right name does.
    Claimed,
    /// It could not be checked, and the policy accepts that.
    Unchecked,
    /// It is not so, or could not be found out, and that is why there is no handle.
    Refused,
}

impl fmt::Display for StepVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Proven => "proven",
            Self::Claimed => "claimed",
            Self::Unchecked => "unchecked",
            Self::Refused => "refused",
        })
    }
}

/// A step that was taken, and what it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Which.
    pub kind: StepKind,
    /// What it is worth.
    pub verdict: StepVerdict,
    /// What was seen, for people.
    pub evidence: String,
}

/// Who made the socket that the daemon listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listener {
    /// The daemon.
    Own,
    /// Another process, or one that has ended; the kernel named the daemon as the writer of the answer instead.
    Inherited {
        /// The pid of the process that listens, if it still runs and can be seen.
        by: Option<u32>,
    },
    /// The platform does not tell.
    Unknown,
}

/// The executable's file, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageState {
    /// The image that runs is the recorded one and stands at the recorded path.
    AsRecorded,
    /// The image that runs is the recorded one; another file, or none, stands at its path by now, where the daemon itself
    /// looks that up. The daemon wants to be upgraded. Only Linux tells: elsewhere a running image is found by its path.
    ReplacedOnDisk,
    /// The image that runs is the recorded one, and what stands at its path cannot be told from here: the image has no name
    /// on disk (a memfd), or the daemon's path cannot be followed (another mount namespace or root directory that this
    /// user may not enter). That says nothing against the daemon, and nothing about an upgrade.
    NotComparable,
    /// The image could not be read.
    Unchecked,
}

/// What is proven of a daemon, step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// In the order in which they were taken.
    pub steps: Vec<Step>,
    /// How the kernel named the peer: the listener, or behind an inherited listener the writer of the answer.
    pub level: ProofLevel,
    /// Who made the listening socket.
    pub listener: Listener,
    /// The executable's file.
    pub image: ImageState,
    /// Whether the record had a start time and an instance id, so that a restarted daemon with the same pid cannot pass for
    /// this one.
    pub with_origin: bool,
}
