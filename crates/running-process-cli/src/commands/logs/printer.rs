//! Prints a log: unchanged in a pipe, escaped on a terminal, or each line as a JSON object.

use crate::failure::Failure;
use crate::output::Output;
use serde_json::json;

/// Longest line of a JSON object, in bytes. A longer one is several.
const MAX_LINE: usize = 1 << 20;

/// The printer of a log.
#[derive(Default)]
pub(super) struct Printer {
    /// Bytes that cannot be printed before more of them are known.
    pending: Vec<u8>,
}

impl Printer {
    /// Prints more of the log.
    pub(super) fn print(&mut self, bytes: &[u8], output: &mut Output) -> Result<(), Failure> {
        if output.is_json() {
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                self.pending.extend_from_slice(part);
                if part.ends_with(b"\n") || self.pending.len() >= MAX_LINE {
                    self.line(output)?;
                }
            }
            return output.flush();
        }
        if !output.is_screen() {
            return output.payload(bytes);
        }
        self.pending.extend_from_slice(bytes);
        let whole = whole(&self.pending);
        output.payload(&self.pending[..whole])?;
        self.pending.drain(..whole);
        Ok(())
    }

    /// Prints what is left at the end of the log.
    pub(super) fn end(&mut self, output: &mut Output) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if output.is_json() {
            self.line(output)?;
            return output.flush();
        }
        output.payload(&std::mem::take(&mut self.pending))
    }

    fn line(&mut self, output: &mut Output) -> Result<(), Failure> {
        let line = self.pending.strip_suffix(b"\n").unwrap_or(&self.pending);
        output.partial_object(json!({ "line": String::from_utf8_lossy(line) }))?;
        self.pending.clear();
        Ok(())
    }
}

/// Returns the length of the whole characters. The rest may be the beginning of one, or of the end of a line.
fn whole(bytes: &[u8]) -> usize {
    let unfinished = match bytes.utf8_chunks().last() {
        // Three bytes of a character of four at most. More of them are no character.
        Some(chunk) if is_beginning(chunk.invalid()) => chunk.invalid().len(),
        _ => 0,
    };
    let whole = &bytes[..bytes.len() - unfinished];
    whole.len() - usize::from(whole.ends_with(b"\r"))
}

/// Returns whether the bytes are the beginning of a character.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_has_not_arrived_whole_is_waited_for() {
        for (bytes, expected) in [
            (&b""[..], 0),
            (b"a", 1),
            (b"a\r", 1),
            (b"a\r\n", 3),
            (b"a\xc3", 1),
            (b"a\xe2\x82", 1),
            (b"a\xf0\x9f\xa6", 1),
            ("a🦀".as_bytes(), 5),
            (b"a\xff", 2),
            (b"a\xc3b", 3),
            (b"a\r\xc3", 1),
        ] {
            assert_eq!(whole(bytes), expected, "{bytes:?}");
        }
    }
}
