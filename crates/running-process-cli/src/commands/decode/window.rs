//! The buffered part of a stream.

use std::io::{self, Read};

/// Size of a read in bytes, unless the caller needs more.
const READ_BYTES: usize = 64 * 1024;

/// A stream of any length with a buffer that grows on demand.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    /// Start of the unconsumed bytes, which are `start..end` of the buffer.
    start: usize,
    end: usize,
    is_at_end: bool,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; READ_BYTES], start: 0, end: 0, is_at_end: false }
    }

    /// Returns the unconsumed bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Returns whether the stream ends behind the buffered bytes.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Reads once and appends the bytes, towards `wanted` of them. The buffer at most doubles: a header of a few bytes does not make
    /// room for the frame that it claims.
    pub(super) fn read(&mut self, wanted: usize) -> io::Result<()> {
        if self.start > 0 && (self.start + wanted > self.buffer.len() || self.end == self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let larger = wanted.clamp(self.end + 1, 2 * self.end);
            self.buffer.reserve_exact(larger - self.end);
            self.buffer.resize(larger, 0);
        }
        let room = &mut self.buffer[self.end..];
        let length = retry(|| self.input.read(room))?;
        self.end += length;
        self.is_at_end = length == 0;
        Ok(())
    }

    /// Drops the first `length` bytes.
    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
    }

    /// Keeps at most `length` bytes and returns the number of bytes dropped.
    pub(super) fn truncate(&mut self, length: usize) -> usize {
        let beyond = self.bytes().len().saturating_sub(length);
        self.end -= beyond;
        beyond
    }

    /// Reads once and drops the bytes; returns their number, 0 at the end.
    pub(super) fn skip(&mut self) -> io::Result<usize> {
        if self.is_at_end {
            return Ok(0);
        }
        let mut bytes = [0; 16 * 1024];
        let length = retry(|| self.input.read(&mut bytes))?;
        self.is_at_end = length == 0;
        Ok(length)
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_grows_with_the_bytes_that_come_and_not_with_those_that_are_wanted() {
        const WANTED: usize = 16 << 20;
        let capture: Vec<u8> = (0..3 * READ_BYTES).map(|index| index.to_le_bytes()[0]).collect();
        let mut window = Window::new(&capture[..]);
        while !window.is_at_end() {
            window.read(WANTED).unwrap();
            assert!(window.buffer.len() <= READ_BYTES.max(2 * window.bytes().len()));
        }
        assert_eq!(window.bytes(), capture);
    }
}
