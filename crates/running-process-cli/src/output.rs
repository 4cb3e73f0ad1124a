//! Standard output of a command: text for people, or JSON for programs.

use crate::chart::Glyphs;
use crate::failure::Failure;
use crate::json::write_object;
use crate::terminal::{self, DEFAULT_COLUMNS};
use crate::text::{payload_for_terminal, write_line};
use crate::verdict::Verdict;
use crate::wrap::fitted;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Size of the output buffer in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// The standard output of a command.
///
/// A reader that closes its end does not change the verdict. Later output is dropped, and the command continues.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent property of the stream")]
pub(crate) struct Output {
    json: bool,
    is_styled: bool,
    is_terminal: bool,
    /// Set once the reader has closed its end.
    is_closed: bool,
    glyphs: Glyphs,
    buffer: Vec<u8>,
}

impl Output {
    /// Creates the output: JSON if `json` is set, else text.
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self {
            json,
            is_styled: terminal::is_styled(stdout),
            is_terminal,
            is_closed: false,
            glyphs: Glyphs::default(),
            buffer: Vec::new(),
        }
    }

    /// Returns whether the output is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns whether the output is text on a terminal that can be drawn over.
    pub(crate) fn is_screen(&self) -> bool {
        self.is_terminal && !self.json && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Returns whether the reader has closed its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Returns the terminal's current columns and rows, if the output is a terminal that reports them.
    pub(crate) fn size(&self) -> Option<(usize, usize)> {
        if self.is_terminal { terminal::stdout_size() } else { None }
    }

    /// Returns the current number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.size().map_or(DEFAULT_COLUMNS, |(columns, _)| columns)
    }

    /// Sets the characters of charts, and of the units in the text between them.
    pub(crate) fn draw_with(&mut self, glyphs: Glyphs) {
        self.glyphs = glyphs;
    }

    /// Returns the characters of charts.
    pub(crate) fn glyphs(&self) -> Glyphs {
        self.glyphs
    }

    /// Prints a line of text, wrapped on a terminal; does nothing if the output is JSON.
    ///
    /// Styles are dropped if the stream or the user's settings exclude them. Foreign text must be escaped with
    /// [`safe`](crate::text::safe), since it could contain line feeds and styles.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        let line = line.to_string();
        let line = self.size().map(|(columns, _)| fitted(&line, columns)).unwrap_or(line);
        self.part(line + "\n")?;
        self.flush()
    }

    /// Buffers text like [`line`](Self::line), without a line feed at the end; [`flush`](Self::flush) prints it.
    pub(crate) fn part(&mut self, text: impl Display) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let mut line = String::new();
        write_line(&self.glyphs.spell(text.to_string()), self.is_styled, &mut line);
        self.write_all(line.as_bytes()).map_err(failed)
    }

    /// Prints an object on a line of its own; does nothing if the output is text.
    pub(crate) fn object(&mut self, object: impl Serialize) -> Result<(), Failure> {
        self.partial_object(object)?;
        self.flush()
    }

    /// Prints the object of a negative result, with its verdict and the failure in it. The failure is an error only where no object has
    /// reported it.
    pub(crate) fn negative(&mut self, mut object: Value, failure: Failure) -> Result<Verdict, Failure> {
        let verdict = failure.verdict();
        object["verdict"] = verdict.name().into();
        object["error"] = json!(failure.report());
        self.object(object)?;
        if self.json { Ok(verdict) } else { Err(failure) }
    }

    /// Buffers an object like [`object`](Self::object); [`flush`](Self::flush) prints it.
    pub(crate) fn partial_object(&mut self, object: impl Serialize) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        write_object(&object, self).map_err(failed)
    }

    /// Prints a daemon's bytes unchanged, or escaped on a terminal.
    pub(crate) fn payload(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let written = if self.is_terminal {
            self.write_all(payload_for_terminal(payload).as_bytes())
        } else {
            self.write_all(payload)
        };
        written.map_err(failed)?;
        self.flush()
    }

    /// Buffers bytes of this command unchanged, such as a script or a control sequence.
    pub(crate) fn verbatim(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_all(bytes).map_err(failed)
    }

    /// Prints the buffered output.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Write::flush(self).map_err(failed)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_closed {
            self.buffer.extend_from_slice(bytes);
            if self.buffer.len() >= BUFFER_BYTES {
                Write::flush(self)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.buffer).and_then(|()| stdout.flush());
        self.buffer.clear();
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            written => written,
        }
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::from(error).context("standard output cannot be written")
}
