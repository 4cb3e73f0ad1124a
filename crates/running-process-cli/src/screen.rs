//! A picture on the terminal that is drawn over itself.

use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::DEFAULT_COLUMNS;
use running_process::broker::backend_sdk::OnTermination;
use std::io::{self, Write};
use std::process;

/// Rows assumed without a terminal that reports its size.
const DEFAULT_ROWS: usize = 24;

/// The exit status of a command that Ctrl-C has ended, by the convention of shells.
const INTERRUPTED: i32 = 130;

/// The terminal while a picture is drawn over itself from its first row.
///
/// No mode of the terminal is changed, so there is none to restore. Ctrl-C, SIGTERM and SIGHUP end the process at once, between two
/// pictures, and the last one stays.
pub(crate) struct Screen {
    is_begun: bool,
    /// `None` where this system has no signals to wait for: there they end the process anywhere in a picture.
    _interrupts: Option<OnTermination>,
}

impl Screen {
    /// Creates the screen and takes the signals.
    pub(crate) fn new() -> Result<Self, Failure> {
        let interrupts = match OnTermination::new(end_between_pictures) {
            Ok(interrupts) => Some(interrupts),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            Err(error) => return Err(Failure::from(error).context("signals cannot be handled")),
        };
        Ok(Self { is_begun: false, _interrupts: interrupts })
    }

    /// Returns the columns and rows that a picture has room for now. The last column and the last row stay empty, since text there
    /// moves the cursor on some terminals.
    pub(crate) fn room(output: &Output) -> (usize, usize) {
        let (columns, rows) = output.size().unwrap_or((DEFAULT_COLUMNS, DEFAULT_ROWS));
        (columns.saturating_sub(1), rows.saturating_sub(1).max(1))
    }

    /// Draws a picture, which fits the [room](Self::room), in the place of the one before. What was on the terminal before the first
    /// one is scrolled up.
    pub(crate) fn draw(&mut self, lines: &[String], output: &mut Output) -> Result<(), Failure> {
        if !self.is_begun {
            self.is_begun = true;
            let (_, rows) = Self::room(output);
            output.part("\n".repeat(rows))?;
        }
        // Each line is overwritten before its rest is cleared, so that nothing flickers.
        output.verbatim(b"\x1b[H")?;
        for line in lines {
            output.part(line)?;
            output.verbatim(b"\x1b[K\n")?;
        }
        output.verbatim(b"\x1b[J")?;
        output.flush()
    }
}

/// Ends the process once no picture is being written, on a line of its own.
fn end_between_pictures() {
    let mut stdout = io::stdout().lock();
    // The terminal shows the interrupt key as `^C`. If it is gone, there is nothing to clear.
    let _gone = stdout.write_all(b"\r\x1b[K").and_then(|()| stdout.flush());
    process::exit(INTERRUPTED);
}
