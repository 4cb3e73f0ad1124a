//! Totals over the frames of a capture.

use super::annotation::AnnotatedFrame;
use super::problem::Severity;

/// Totals over the frames of a capture.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Length of all frames, in bytes.
    pub(crate) length: usize,
    pub(crate) frames: usize,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
}

impl Totals {
    /// Adds a frame.
    pub(crate) fn add(&mut self, frame: &AnnotatedFrame<'_>) {
        let count = |severity| frame.problems.iter().filter(|problem| problem.severity == severity).count();
        self.length += frame.length;
        self.frames += 1;
        self.errors += count(Severity::Error);
        self.warnings += count(Severity::Warning);
    }

    /// Returns whether the library's decoder accepts every frame; true for a capture without frames.
    pub(crate) fn is_accepted(&self) -> bool {
        self.errors == 0
    }
}
