//! The progress of a load on standard error.

use super::phase::Progress;
use crate::terminal::stderr_columns;
use crate::text::cut;
use std::io::{self, IsTerminal, Write};

/// The line of a terminal that shows the progress. Each update writes over it.
pub(super) struct ProgressLine {
    is_on: bool,
}

impl ProgressLine {
    /// Creates the line; it stays empty if standard error is no terminal.
    pub(super) fn on_terminal() -> Self {
        Self { is_on: io::stderr().is_terminal() }
    }

    /// Shows the progress of a phase.
    pub(super) fn show(&mut self, phase: &str, Progress { elapsed, answered, failed }: Progress) {
        let seconds = elapsed.as_secs_f64();
        self.write(format_args!("{phase} {seconds:.1} s: {answered} answered, {failed} failed"));
    }

    /// Removes the line.
    pub(super) fn clear(&mut self) {
        self.write(format_args!(""));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        if self.is_on {
            // A line that fills the terminal would wrap, and the next update could not write over it.
            let line = cut(&text.to_string(), stderr_columns().saturating_sub(1));
            // After an error the terminal is gone.
            self.is_on = write!(io::stderr(), "\r\x1b[K{line}").is_ok();
        }
    }
}
