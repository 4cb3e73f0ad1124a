//! The part of a stream that is at hand.

use std::io::{self, Read};

/// How much is read at once, in bytes, if no more is wanted.
const READ_BYTES: usize = 64 * 1024;

/// A stream of any length, of which the bytes at hand can be looked at, and grow on demand.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    /// `start..end` of the buffer is at hand.
    start: usize,
    end: usize,
    is_at_end: bool,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; READ_BYTES], start: 0, end: 0, is_at_end: false }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether nothing comes behind the bytes at hand.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Adds what one read gives, with room for `wanted` bytes in all.
    pub(super) fn read(&mut self, wanted: usize) -> io::Result<()> {
        if self.start + wanted > self.buffer.len() || self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if wanted > self.buffer.len() {
                self.buffer.reserve_exact(wanted - self.buffer.len());
                self.buffer.resize(wanted, 0);
            }
        }
        let room = &mut self.buffer[self.end..];
        let length = retry(|| self.input.read(room))?;
        self.end += length;
        self.is_at_end = length == 0;
        Ok(())
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
    }

    /// Keeps `length` bytes and gives how many it had beyond.
    pub(super) fn truncate(&mut self, length: usize) -> usize {
        let beyond = self.bytes().len().saturating_sub(length);
        self.end -= beyond;
        beyond
    }

    /// Reads on without keeping anything; gives how much that was, 0 at the end.
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
