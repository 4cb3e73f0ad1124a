//! The received bytes that the legacy handler reads first.

use crate::broker::backend_sdk::proto::recv_buffer::recycle;

/// The start of a stream, which is read before the socket.
#[derive(Debug)]
pub(super) struct Rewind {
    bytes: Vec<u8>,
    /// Bytes that have been read; `start <= bytes.len()`.
    start: usize,
}

impl Rewind {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// Returns the bytes that have not been read yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Reads into the start of `buf`, and returns how much. The memory is released with the last byte.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> usize {
        let length = buf.len().min(self.rest().len());
        buf[..length].copy_from_slice(&self.rest()[..length]);
        self.start += length;
        if self.rest().is_empty() {
            recycle(&mut std::mem::take(&mut self.bytes));
            self.start = 0;
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_read_once_and_in_order() {
        let mut rewind = Rewind::new(b"legacy".to_vec());
        let mut buf = [0; 4];
        assert_eq!((rewind.read(&mut buf), &buf, rewind.rest()), (4, b"lega", &b"cy"[..]));
        assert_eq!((rewind.read(&mut buf), &buf[..2], rewind.rest()), (2, &b"cy"[..], &b""[..]));
        assert_eq!(rewind.read(&mut buf), 0);
    }
}
