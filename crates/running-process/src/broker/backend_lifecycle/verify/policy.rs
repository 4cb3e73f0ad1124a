use std::fmt;

/// The way in which the kernel named the peer, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProofLevel {
    /// Not named: the platform cannot, and the peer's claim agrees with the expected identity.
    Claimed,
    /// Named by a number that was looked up twice (Linux before 6.5, FreeBSD, Windows), or by a number and its version
    /// (macOS).
    Named,
    /// Named by a handle to the process itself (Linux from 6.5).
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

/// The treatment of a daemon that listens on a socket of another process, such as a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InheritedListener {
    /// Refused: the process that listens must be the recorded one.
    Refuse,
    /// Accepted if the identity says so. The kernel must then name the recorded process as the writer of the answer.
    IfRecorded,
    /// Accepted whatever the identity says, under the same condition, which only Linux can meet. This is for daemons of
    /// published peers behind a service manager, and for those that fork after they listen.
    Accept,
}

/// The comparison of the running executable with the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageCheck {
    /// The image must be readable and have the recorded digest.
    Required,
    /// As [`Required`](Self::Required), but the step is unchecked for an image that this user may not read.
    IfReadable,
    /// The image must be the very file that the caller runs, by device and inode; nothing is digested. This is for a
    /// client that is its daemon's own executable. Only on Unix.
    SameAsCaller,
}

/// The demands of a caller on a proof.
///
/// | | default | [`strict`](Self::strict) | [`lenient`](Self::lenient) |
/// | --- | --- | --- | --- |
/// | weakest level | named | held | claimed |
/// | image | required | required | if readable |
/// | executable replaced on disk | accepted | refused | accepted |
/// | identity without start time and instance id | accepted | refused | accepted |
/// | inherited listener | if recorded | if recorded | accepted |
///
/// No policy accepts a process that the kernel names as another one. At the level claimed it names none, and an
/// impostor that repeats the identity is not noticed.
///
/// ```no_run
/// use running_process::{BackendHandle, DaemonProcess};
/// use running_process::broker::backend_lifecycle::verify::Policy;
/// use std::time::{Duration, Instant};
/// # fn example(daemon: &DaemonProcess) -> Result<(), Box<dyn std::error::Error>> {
/// let mut policy = Policy::strict();
/// policy.replaced_on_disk = true; // an upgrade that waits for a restart is no reason to refuse
/// let handle = BackendHandle::verify(daemon, policy, Instant::now() + Duration::from_secs(2))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// The weakest way in which the kernel may name the peer.
    pub weakest: ProofLevel,
    /// The comparison of the running executable.
    pub image: ImageCheck,
    /// Accepts that another file, or none, is at the executable's path by now.
    pub replaced_on_disk: bool,
    /// Accepts an identity without the kernel's start time and the instance id, as those of published peers are.
    pub without_origin: bool,
    /// The treatment of a daemon that listens on a socket of another process.
    pub inherited_listener: InheritedListener,
    /// Uses only what kernels before 6.5 offer, to show what that is worth. Linux only.
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
    /// Returns the policy that asks for everything that this library can prove.
    #[must_use]
    pub fn strict() -> Self {
        Self { weakest: ProofLevel::Held, replaced_on_disk: false, without_origin: false, ..Self::default() }
    }

    /// Returns the policy that every platform with process handles, every published identity and, on Linux, every
    /// service manager can meet. Where the kernel names no process, that is no proof: see [`ProofLevel::Claimed`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_demands_what_its_row_says() {
        let demands = |policy: &Policy| {
            let accepts = (policy.replaced_on_disk, policy.without_origin, policy.only_credentials);
            (policy.weakest.to_string(), policy.image, accepts, policy.inherited_listener)
        };
        assert_eq!(
            demands(&Policy::default()),
            (
                "named by the kernel".to_owned(),
                ImageCheck::Required,
                (true, true, false),
                InheritedListener::IfRecorded
            )
        );
        assert_eq!(
            demands(&Policy::strict()),
            (
                "held through the kernel".to_owned(),
                ImageCheck::Required,
                (false, false, false),
                InheritedListener::IfRecorded
            )
        );
        assert_eq!(
            demands(&Policy::lenient()),
            ("claimed".to_owned(), ImageCheck::IfReadable, (true, true, false), InheritedListener::Accept)
        );
    }
}
