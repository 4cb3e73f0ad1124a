use std::fmt;

/// How the kernel named the process at the other end, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProofLevel {
    /// It did not: the platform cannot, and what the peer claims agrees with the record.
    Claimed,
    /// By a number that was looked up twice (Linux before 6.5, FreeBSD, Windows), or by a number and its version (macOS).
    Named,
    /// By a handle to the process itself (Linux from 6.5).
    Held,
}

impl fmt::Display for ProofLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Claimed => "claimed",
            Self::Named => "named by the kernel",
            Self::Held => "held through the kernel",
        })
    }
}

/// Whether a daemon may listen on a socket that another process made, as service managers do for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InheritedListener {
    /// No: the process that listens must be the recorded one.
    Refuse,
    /// If the record says so. The kernel must then name the recorded process as the one that wrote the answer.
    IfRecorded,
    /// Whatever the record says, under the same condition, which only Linux can meet: for daemons of published peers
    /// behind a service manager, and for those that fork after they listen.
    Accept,
}

/// What of the running executable is compared with the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageCheck {
    /// The image must be readable and have the recorded digest.
    Required,
    /// As [`Required`](Self::Required), but an image that this user may not read is passed over, visibly.
    IfReadable,
    /// The image must be the very file that the caller runs, by device and inode; nothing is digested. For a client that
    /// is its daemon's own executable. Only on Unix.
    SameAsCaller,
}

/// What a caller accepts as proof.
///
/// | | default | [`strict`](Self::strict) | [`lenient`](Self::lenient) |
/// | --- | --- | --- | --- |
/// | weakest level | named | held | claimed |
/// | image | required | required | if readable |
/// | executable replaced on disk | accepted | refused | accepted |
/// | record without start time and instance id | accepted | refused | accepted |
/// | inherited listener | if recorded | if recorded | accepted |
///
/// No policy accepts a process that the kernel names as another one. Where it names none, which is the level claimed, an
/// impostor that repeats the record is not seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// The weakest way in which the kernel may name the peer.
    pub weakest: ProofLevel,
    /// What of the running executable is compared.
    pub image: ImageCheck,
    /// Whether another file may stand at the executable's path by now, or none.
    pub replaced_on_disk: bool,
    /// Whether a record may lack the kernel's start time and the instance id, as those of published peers do.
    pub without_origin: bool,
    /// Whether the daemon may listen on a socket that another process made.
    pub inherited_listener: InheritedListener,
    /// Uses what kernels before 6.5 offer although there is better: to see what that is worth. Linux only.
    pub only_credentials: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            weakest: ProofLevel::Named,
            image: ImageCheck::Required,
            replaced_on_disk: true,
            without_origin: true,
            inherited_listener: InheritedListener::IfRecorded,
            only_credentials: false,
        }
    }
}

impl Policy {
    /// The most that this library can prove, and nothing less.
    #[must_use]
    pub fn strict() -> Self {
        Self { weakest: ProofLevel::Held, replaced_on_disk: false, without_origin: false, ..Self::default() }
    }

    /// What every platform that can hold a process, every published record and, on Linux, every service manager can give.
    /// Where the kernel names nobody that is no proof: see [`ProofLevel::Claimed`].
    #[must_use]
    pub fn lenient() -> Self {
        Self {
            weakest: ProofLevel::Claimed,
            image: ImageCheck::IfReadable,
            inherited_listener: InheritedListener::Accept,
            ..Self::default()
        }
    }
}
