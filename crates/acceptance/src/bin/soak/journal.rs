//! The journal: a pipe with a name, to which all processes of a run write lines.
//!
//! A line is shorter than `PIPE_BUF` bytes, so it arrives whole, also if its writer is killed. A daemon writes that it runs a request
//! before it answers, so that line comes before the one of the client.

use rustix::time::{ClockId, clock_gettime};
use std::fmt::{Arguments, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

/// The longest line, in bytes: below the 4096 bytes that pipe(7) writes at once.
const LONGEST: usize = 1024;

#[derive(Debug)]
pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn open(path: &Path) -> Self {
        Self(OpenOptions::new().write(true).open(path).unwrap())
    }

    /// Writes a line. A process whose coordinator is gone ends.
    pub(crate) fn write(&self, text: Arguments<'_>) {
        let mut line = String::new();
        write!(line, "{text}").unwrap();
        let mut line: String = line.replace('\n', " ").chars().take(LONGEST / 4).collect();
        line.push('\n');
        if (&self.0).write_all(line.as_bytes()).is_err() {
            std::process::exit(70);
        }
    }
}

/// Returns the time of the system's monotonic clock, which all processes share, in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}
