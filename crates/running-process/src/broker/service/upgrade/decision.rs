use super::release::Release;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The decision of a client about the daemon that runs. Its `Display` is one sentence with both versions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The client uses the daemon that runs.
    Keep {
        /// The release of the daemon that runs.
        running: Release,
        /// The release that the client wants.
        wanted: Release,
        /// The reason.
        reason: KeepReason,
    },
    /// The client replaces the daemon that runs.
    Replace {
        /// The release of the daemon that runs.
        running: Release,
        /// The release that the client wants.
        wanted: Release,
        /// The reason.
        reason: ReplaceReason,
    },
    /// The client neither uses nor replaces the daemon that runs.
    Refuse {
        /// The release of the daemon that runs.
        running: Release,
        /// The release that the client wants.
        wanted: Release,
        /// The reason.
        reason: RefuseReason,
    },
}

/// The reason why a daemon is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepReason {
    /// The policy replaces no daemon.
    Never,
    /// The client has no version.
    ClientWithoutVersion,
    /// The versions are the same by their order, or by their texts if the client wants exactly its own.
    Same,
    /// The daemon is newer than the one that the client wants.
    Newer,
    /// The versions are not of the kind that has an order.
    NotComparable,
    /// The client would replace the daemon, but cannot get the one that it wants.
    Obstacle(Obstacle),
}

/// The reason why the daemon that a client wants cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The daemon is of another program than the one that the client would start.
    OtherProgram {
        /// The program of the daemon that runs; `None` if it is not known.
        running: Option<PathBuf>,
        /// The program that the client would start.
        wanted: PathBuf,
    },
    /// The client has no program to start.
    NoProgram,
    /// The client's program was started in the place of a daemon within the last 24 hours, and was of the version that runs. Its file has
    /// not changed since.
    NotUpgraded,
}

/// The reason why a daemon is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplaceReason {
    /// The daemon is older than the one that the client wants.
    Older,
    /// The daemon has no version, so it is older than any.
    WithoutVersion,
    /// The client wants exactly its own version.
    Other,
}

/// The reason why a client neither uses nor replaces a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseReason {
    /// As many replacements were made within a time as the policy allows: clients of different versions take turns, or the
    /// replacements fail.
    TooMany {
        /// The number of replacements that the policy allows, and that were made or have failed.
        count: u32,
        /// The time within which so many are allowed.
        within: Duration,
        /// The release of the daemon that the last one replaced, and of the one that serves since: `None` if it failed.
        last: Option<(Release, Option<Release>)>,
        /// Time after which a replacement is allowed again.
        retry_after: Duration,
    },
    /// The client wants exactly its own version, and cannot get it.
    Obstacle(Obstacle),
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { running, wanted, reason } => {
                write!(formatter, "the daemon of {running} is kept: ")?;
                match reason {
                    KeepReason::Never => {
                        write!(formatter, "this client wants {wanted}, and its policy replaces no daemon")
                    }
                    KeepReason::ClientWithoutVersion => {
                        formatter.write_str("this client has no version, and replaces no daemon")
                    }
                    KeepReason::Same => write!(formatter, "this client wants {wanted}, which is the same"),
                    KeepReason::Newer => {
                        write!(formatter, "it is newer than {wanted}, which this client wants")
                    }
                    KeepReason::NotComparable => {
                        write!(formatter, "this client wants {wanted}, and the two have no order")
                    }
                    KeepReason::Obstacle(obstacle) => {
                        write!(formatter, "this client wants {wanted}, but {}", Told(obstacle, running))
                    }
                }
            }
            Self::Replace { running, wanted, reason } => {
                write!(formatter, "the daemon of {running} is replaced: ")?;
                match reason {
                    ReplaceReason::Older => {
                        write!(formatter, "it is older than {wanted}, which this client wants")
                    }
                    ReplaceReason::WithoutVersion => write!(
                        formatter,
                        "this client wants {wanted}, and a daemon that tells no version counts as older"
                    ),
                    ReplaceReason::Other => write!(formatter, "this client wants exactly {wanted}"),
                }
            }
            Self::Refuse { running, wanted, reason } => {
                write!(formatter, "{}", Refusal { running, wanted, reason })
            }
        }
    }
}

/// A refusal as a sentence.
pub(in crate::broker::service) struct Refusal<'a> {
    pub(in crate::broker::service) running: &'a Release,
    pub(in crate::broker::service) wanted: &'a Release,
    pub(in crate::broker::service) reason: &'a RefuseReason,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { running, wanted, reason } = self;
        write!(formatter, "the daemon of {running} is not replaced by {wanted}, which this client wants")?;
        match reason {
            RefuseReason::TooMany { count, within, last, retry_after } => {
                write!(formatter, ": {count} replacements within {} are the limit", Seconds(*within))?;
                match last {
                    Some((from, Some(to))) => {
                        write!(formatter, ", and the last one was from {from} to {to}")?;
                    }
                    Some((from, None)) => write!(formatter, ", and the last one, of {from}, failed")?,
                    None => {}
                }
                write!(
                    formatter,
                    "; use one version in all clients, or try again in {}",
                    Seconds(*retry_after)
                )
            }
            RefuseReason::Obstacle(obstacle) => write!(formatter, " exactly: {}", Told(obstacle, running)),
        }
    }
}

/// A duration in seconds, rounded up.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}s", self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0))
    }
}

/// An obstacle as a part of a sentence, about the daemon of a release that runs.
struct Told<'a>(&'a Obstacle, &'a Release);

impl fmt::Display for Told<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Obstacle::OtherProgram { running: Some(running), wanted } => write!(
                formatter,
                "its program is {:?}, and the daemon was started from {:?}",
                wanted.display().to_string(),
                running.display().to_string()
            ),
            Obstacle::OtherProgram { running: None, wanted } => write!(
                formatter,
                "its program is {:?}, and it is unknown from where the daemon was started",
                wanted.display().to_string()
            ),
            Obstacle::NoProgram => formatter.write_str("it has no program to start"),
            Obstacle::NotUpgraded => {
                write!(formatter, "its program is of {} and has not changed since", self.1)
            }
        }
    }
}
