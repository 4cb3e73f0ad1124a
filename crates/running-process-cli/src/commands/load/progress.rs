//! The progress of a load on standard error.

use super::phase::Progress;
use crate::chart::{Glyphs, History, spark};
use crate::terminal::stderr_columns;
use crate::text::{columns, cut};
use crate::wire::grouped;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Columns of the chart from which it is shown.
const LEAST_CHART: usize = 8;

/// The line of a terminal that shows the progress: figures, and requests per second over time. Each update writes over it.
pub(super) struct ProgressLine {
    is_on: bool,
    glyphs: Glyphs,
    /// The phase that is shown, and what it had done when it was shown last.
    phase: &'static str,
    elapsed: Duration,
    answered: u64,
    rates: History,
}

impl ProgressLine {
    /// Creates the line; it stays empty if standard error is no terminal.
    pub(super) fn on_terminal(glyphs: Glyphs) -> Self {
        let is_on = io::stderr().is_terminal();
        Self { is_on, glyphs, phase: "", elapsed: Duration::ZERO, answered: 0, rates: History::default() }
    }

    /// Shows the progress of a phase.
    pub(super) fn show(&mut self, phase: &'static str, Progress { elapsed, answered, failed }: Progress) {
        if self.phase != phase {
            (self.phase, self.elapsed, self.answered) = (phase, Duration::ZERO, 0);
            self.rates = History::default();
        }
        let rate = self.rate(elapsed, answered);
        let seconds = elapsed.as_secs_f64();
        let figures = format!(
            "{phase} {seconds:.1} s: {} answered, {} failed, {}/s ",
            grouped(answered),
            grouped(failed),
            grouped(format_args!("{rate:.0}")),
        );
        // A line that fills the terminal would wrap, and the next update could not write over it.
        let width = stderr_columns().saturating_sub(1);
        let room = width.saturating_sub(columns(&figures)).min(self.rates.len());
        let chart = if room < LEAST_CHART { String::new() } else { spark(&self.rates, room, self.glyphs) };
        self.write(&cut(&(figures + &chart), width));
    }

    /// Returns the requests per second since the last update, or since the beginning of the phase, and adds them to the history.
    #[expect(clippy::cast_precision_loss, reason = "a rate is not exact")]
    fn rate(&mut self, elapsed: Duration, answered: u64) -> f64 {
        let seconds = elapsed.saturating_sub(self.elapsed).as_secs_f64().max(f64::MIN_POSITIVE);
        let rate = (answered - self.answered) as f64 / seconds;
        (self.elapsed, self.answered) = (elapsed, answered);
        self.rates.push(Some(rate));
        rate
    }

    /// Removes the line.
    pub(super) fn clear(&mut self) {
        self.write("");
    }

    fn write(&mut self, line: &str) {
        if self.is_on {
            let line = self.glyphs.spell(line.to_owned());
            // After an error the terminal is gone.
            self.is_on = write!(io::stderr(), "\r\x1b[K{line}").is_ok();
        }
    }
}
