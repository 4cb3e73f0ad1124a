//! Standard output: text for people, or JSON for programs. Nothing reaches a stream but through here.

pub(crate) mod background;
pub(crate) mod text;

use crate::failure::Failure;
use serde::Serialize;
use serde_json::ser::Formatter;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use text::{is_hostile, payload_for_terminal, write_line};

/// The version of everything that `--json` prints, which docs/json.md describes; it grows when a field changes its meaning
/// or goes away.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// Size of the output buffer in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Columns assumed without a terminal that reports its size.
pub(crate) const DEFAULT_COLUMNS: usize = 80;

/// Where a command prints its answer.
///
/// A reader that leaves changes no verdict: what is printed from then on is dropped, and the command goes on to its end.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, asked once")]
pub(crate) struct Output {
    json: bool,
    is_styled: bool,
    is_terminal: bool,
    /// Set once the reader has closed its end.
    is_closed: bool,
    buffer: Vec<u8>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let is_styled = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        if is_styled {
            // Enables styles in a Windows console.
            let _console = anstream::AutoStream::always_ansi(io::stdout());
        }
        let is_terminal = stdout.is_terminal();
        Self { json, is_styled, is_terminal, is_closed: false, buffer: Vec::new() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Reports whether the output is text at a terminal that can be drawn over.
    pub(crate) fn is_screen(&self) -> bool {
        self.is_terminal && !self.json
    }

    /// Reports whether the reader has closed its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Returns the terminal's current columns and rows, if the output is a terminal that reports them.
    pub(crate) fn size(&self) -> Option<(usize, usize)> {
        let size = if self.is_terminal { terminal_size::terminal_size_of(io::stdout()) } else { None };
        size.map(|(columns, rows)| (columns.0.into(), rows.0.into()))
    }

    /// Returns the current number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.size().map_or(DEFAULT_COLUMNS, |(columns, _)| columns)
    }

    /// Prints a line for people; programs do not see it. Styles are dropped where the terminal or its user wants none.
    /// Foreign text must have gone through [`text::safe`], since it could contain line feeds and styles.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        self.part(format_args!("{line}\n"))?;
        self.flush()
    }

    /// Buffers text like [`line`](Self::line), without a line feed at the end; [`flush`](Self::flush) prints it.
    pub(crate) fn part(&mut self, text: impl Display) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let mut line = String::new();
        write_line(&text.to_string(), self.is_styled, &mut line);
        self.write_all(line.as_bytes()).map_err(failed)
    }

    /// Prints an object for programs, on a line of its own; people do not see it.
    pub(crate) fn object(&mut self, object: impl Serialize) -> Result<(), Failure> {
        self.partial_object(object)?;
        self.flush()
    }

    /// Buffers an object like [`object`](Self::object); [`flush`](Self::flush) prints it.
    pub(crate) fn partial_object(&mut self, object: impl Serialize) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        write_object(&object, self).map_err(failed)
    }

    /// Prints a daemon's bytes: as they are, but escaped at a terminal.
    pub(crate) fn payload(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let written = if self.is_terminal {
            self.write_all(payload_for_terminal(payload).as_bytes())
        } else {
            self.write_all(payload)
        };
        written.map_err(failed)?;
        self.flush()
    }

    /// Prints bytes of this command as they are: a script, or sequences that move the cursor.
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

/// Writes `object` with its schema's version and a line feed. Escapes do not change the values that a parser reads.
fn write_object(object: &impl Serialize, to: impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        schema_version: u32,
        #[serde(flatten)]
        object: &'a T,
    }

    let mut to = to;
    let mut serializer = serde_json::Serializer::with_formatter(&mut to, Harmless);
    Versioned { schema_version: SCHEMA_VERSION, object }.serialize(&mut serializer)?;
    to.write_all(b"\n")
}

/// A JSON formatter that escapes hostile characters that JSON permits: DEL, C1, and those that change the text's direction.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        // DEL is the only control character in ASCII that JSON does not escape.
        if text.is_ascii() && !text.as_bytes().contains(&0x7f) {
            return writer.write_all(text.as_bytes());
        }
        while let Some((at, char)) = rest.char_indices().find(|(_, char)| is_hostile(*char)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + char.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Returns the text of this command as it is written to standard error.
pub(crate) fn for_stderr(text: &str) -> String {
    let is_styled = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    if is_styled {
        let _console = anstream::AutoStream::always_ansi(io::stderr());
    }
    let mut line = String::with_capacity(text.len());
    write_line(text, is_styled, &mut line);
    line
}

/// Returns `object` on one line, with its schema's version.
pub(crate) fn object_line(object: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::new();
    // Writing to memory does not fail, and all objects of this command have strings as keys.
    let _infallible = write_object(object, &mut line);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaping_changes_no_value(text in any::<String>(), key in any::<String>()) {
            let object = serde_json::json!({ "text": text, "of": { key: [text] } });
            let line = String::from_utf8(object_line(&object)).unwrap();
            prop_assert!(!line.trim_end_matches('\n').contains(is_hostile));
            let mut read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read.as_object_mut().unwrap().remove("schema_version"), Some(SCHEMA_VERSION.into()));
            prop_assert_eq!(read, object);
        }
    }
}
