//! The verdict of a command, which is its exit status.

use std::process::ExitCode;

/// The verdict of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Exit status 0: the answer is yes.
    Yes,
    /// Exit status 1: the answer is no.
    No,
    /// Exit status 2: the question could not be answered, and the error has been printed.
    Undecided,
    /// Exit status 130: a signal has ended the command, as shells tell it of Ctrl-C.
    Interrupted,
}

impl Verdict {
    /// Returns the exit status.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Undecided => 2,
            Self::Interrupted => 130,
        }
    }

    /// Returns the name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Undecided | Self::Interrupted => "undecided",
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        ExitCode::from(verdict.status())
    }
}
