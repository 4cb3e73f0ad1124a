use super::release::Release;
use std::path::PathBuf;

/// The daemon that runs, or the one that a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Version and build.
    pub release: Release,
    /// The program: equal if both are started from the same place, whatever file is there by now. `None` if there is no program to
    /// start.
    pub program: Option<PathBuf>,
    /// Identifies the command and the file of the program: equal marks are the same command, and the same file, unchanged. `None` if it
    /// cannot be told.
    pub mark: Option<String>,
}

impl Candidate {
    /// Returns a candidate of `release`, without a program.
    #[must_use]
    pub fn new(release: Release) -> Self {
        Self { release, program: None, mark: None }
    }

    /// Sets the program.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Sets the mark of the program's file.
    #[must_use]
    pub fn mark(mut self, mark: impl Into<String>) -> Self {
        self.mark = Some(mark.into());
        self
    }
}
