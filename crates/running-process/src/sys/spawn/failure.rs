//! The reason why a daemon was not started.

use std::ffi::c_int;
use std::{fmt, io};

/// A step on the way to the daemon's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Fork = 1,
    Descriptors,
    Directory,
    Execute,
}

impl Step {
    pub(super) fn from_number(number: i32) -> Self {
        [Self::Fork, Self::Descriptors, Self::Directory]
            .into_iter()
            .find(|step| *step as i32 == number)
            .unwrap_or(Self::Execute)
    }
}

/// The reason why there is no daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: c_int,
}

impl Failure {
    /// Returns the failure of the call that has just failed.
    pub(super) fn last(step: Step) -> Self {
        // Reads the number and allocates nothing.
        Self { step, errno: io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// Returns the error of the system, or for a step before the program one that names the step.
pub(super) fn explained(failure: Failure) -> io::Error {
    let source = io::Error::from_raw_os_error(failure.errno);
    match failure.step {
        Step::Execute => source,
        step => io::Error::new(source.kind(), StepError { step, source }),
    }
}

/// The error of a step before the program.
#[derive(Debug)]
struct StepError {
    step: Step,
    source: io::Error,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.step {
            Step::Fork => "no process could be made for the daemon",
            Step::Descriptors => "the daemon's descriptors could not be set up",
            Step::Directory => "the daemon's working directory could not be entered",
            Step::Execute => "the daemon's program could not be executed",
        })
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
