//! Standard output: text for people, or JSON for programs.

use crate::failure::{Failure, OutputClosed};
use std::fmt;
use std::io::{self, Write};

/// The version of everything that `--json` prints; it grows when a field changes its meaning or goes away.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Where a command prints its answer.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people; programs do not see it. Styles are dropped where the terminal or its user wants none.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let mut stdout = anstream::stdout().lock();
        closed_quietly(writeln!(stdout, "{line}").and_then(|()| stdout.flush()))
    }

    /// An object for programs, on a line of its own; people do not see it.
    pub(crate) fn object(&mut self, mut object: serde_json::Value) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        object["schema_version"] = SCHEMA_VERSION.into();
        self.bytes(format!("{object}\n").as_bytes())
    }

    /// Bytes as they are, to people and programs alike.
    #[expect(clippy::unused_self, reason = "only who holds the output writes to it")]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        closed_quietly(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }
}

fn closed_quietly(written: io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::undecided(OutputClosed),
        _ => Failure::undecided(error).context("standard output cannot be written"),
    })
}
