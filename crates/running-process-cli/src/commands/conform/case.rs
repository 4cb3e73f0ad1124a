//! A case: one rule of the wire, and the way to try it.

use super::fault::Fault;
use super::trial::Trial;

/// The weight of a failed case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// The wire that all peers share: another program would misunderstand this daemon.
    Must,
    /// A rule of this library, which is stricter or of its own.
    Should,
    /// Nothing that a client depends on.
    Note,
}

impl Severity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Note => "note",
        }
    }
}

/// A condition without which a case is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The conformance protocol, with `echo`.
    Echo,
    /// `events` of the conformance protocol.
    Events,
    /// `wait` and `ended` of the conformance protocol.
    Wait,
    /// An identity file.
    IdentityFile,
    /// A system that names the peer's process and its image.
    Kernel,
    /// A client that sends a probe.
    Probe,
    /// A client that asks for notices.
    Notices,
    /// A client that lists an encoding.
    Zstd,
    Snappy,
    Lz4,
}

impl Need {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Events => "events",
            Self::Wait => "wait",
            Self::IdentityFile => "identity_file",
            Self::Kernel => "kernel",
            Self::Probe => "probe",
            Self::Notices => "notices",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

/// The description of a case.
#[derive(Debug)]
pub(super) struct Description {
    /// The name, of which the part before the first hyphen is that of a group.
    pub(super) name: &'static str,
    /// The rule of the wire, in a sentence.
    pub(super) rule: &'static str,
    /// The section of docs/wire.md.
    pub(super) section: &'static str,
    pub(super) severity: Severity,
    pub(super) needs: &'static [Need],
}

/// A rule for daemons, and the way to try it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) about: Description,
    /// Set if it keeps the daemon so busy that other cases must not run beside it.
    pub(super) alone: bool,
    pub(super) run: fn(&Trial<'_>) -> Result<(), Fault>,
}

impl Case {
    /// Creates a case that every daemon must pass.
    pub(super) const fn must(
        name: &'static str,
        section: &'static str,
        rule: &'static str,
        run: fn(&Trial<'_>) -> Result<(), Fault>,
    ) -> Self {
        let about = Description { name, rule, section, severity: Severity::Must, needs: &[] };
        Self { about, alone: false, run }
    }

    /// Makes a failure of the case no violation of the wire that all peers share.
    pub(super) const fn should(self) -> Self {
        Self { about: Description { severity: Severity::Should, ..self.about }, ..self }
    }

    /// Makes a failure of the case a remark.
    pub(super) const fn note(self) -> Self {
        Self { about: Description { severity: Severity::Note, ..self.about }, ..self }
    }

    pub(super) const fn needs(self, needs: &'static [Need]) -> Self {
        Self { about: Description { needs, ..self.about }, ..self }
    }

    /// Lets no other case run beside this one.
    pub(super) const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }
}
