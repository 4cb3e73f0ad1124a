use super::policy::ProofLevel;
use std::fmt;

/// One step of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepKind {
    /// The recorded pid names a live process, with the recorded start time if there is one.
    Process,
    /// The identity is of this boot.
    Boot,
    /// Daemon and caller are in the same pid namespace.
    Namespace,
    /// The endpoint was connected to.
    Connection,
    /// The process that listens at the other end of this connection.
    Listener,
    /// A fresh challenge was answered with the recorded identity.
    Answer,
    /// The process that wrote the answer.
    Writer,
    /// The image that the process runs.
    Image,
    /// The process was alive after everything else.
    Alive,
    /// The daemon behind the front: [`verify_fronted`](super::verify_fronted).
    Fronted,
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
            Self::Fronted => "fronted",
        })
    }
}

/// The verdict of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepVerdict {
    /// The kernel says so; in a step with a digest, together with the file that was read or its cached digest.
    Proven,
    /// The peer says so, or a file of the right name does.
    Claimed,
    /// It could not be checked, and the policy accepts that.
    Unchecked,
    /// The check failed or could not be made, so there is no handle.
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

/// A step that was taken, with its verdict and evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The kind of the step.
    pub kind: StepKind,
    /// The verdict.
    pub verdict: StepVerdict,
    /// The evidence, for people.
    pub evidence: String,
}

/// The process that made the socket on which the daemon listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listener {
    /// The daemon.
    Own,
    /// Another process, or one that has ended. The kernel named the daemon as the writer of the answer instead.
    Inherited {
        /// The pid of the process that listens, if it still runs and can be seen.
        by: Option<u32>,
    },
    /// The platform does not tell.
    Unknown,
}

/// The state of the executable's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageState {
    /// The running image is the recorded one, and is at the recorded path.
    Unchanged,
    /// The running image is the recorded one, and another file, or none, is at its path by now, as the daemon itself
    /// looks that up. The daemon is due for an upgrade. Only Linux tells: elsewhere a running image is found by its
    /// path.
    ReplacedOnDisk,
    /// The running image is the recorded one, and the file at its path cannot be told from here. The image has no name
    /// on disk (a memfd), or the daemon's path cannot be followed (another mount namespace or root directory that this
    /// user may not enter). That says nothing against the daemon, and nothing about an upgrade.
    NotComparable,
    /// The image could not be read.
    Unchecked,
}

/// The proof of a daemon, step by step.
///
/// ```no_run
/// # fn example(handle: &running_process::BackendHandle) {
/// for step in &handle.proof().steps {
///     println!("{:<10} {:<14} {}", step.verdict, step.kind, step.evidence);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The steps, in the order in which they were taken.
    pub steps: Vec<Step>,
    /// The way in which the kernel named the peer: the listener, or behind an inherited listener the writer of the
    /// answer.
    pub level: ProofLevel,
    /// The process that made the listening socket.
    pub listener: Listener,
    /// The state of the executable's file.
    pub image: ImageState,
    /// The identity had a start time and an instance id, so a restarted daemon with the same pid cannot pass for this
    /// one.
    pub with_origin: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_verdicts_are_told_in_words_that_fill_a_column() {
        assert_eq!(
            format!("{:<14}|{}", StepKind::Namespace, StepVerdict::Unchecked),
            "pid namespace |unchecked"
        );
        assert_eq!(format!("{:>8}|{:>8}", StepKind::Writer, StepVerdict::Proven), "  writer|  proven");
    }
}
