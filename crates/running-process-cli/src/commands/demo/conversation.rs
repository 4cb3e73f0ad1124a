//! One connection of the demo and its traffic.

use crate::failure::Failure;
use running_process::broker::backend_sdk::LocalStream;
use std::time::{Duration, Instant};

/// Longer than any reply of a healthy daemon takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The size of the writes to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    Whole,
    Bytes,
}

pub(super) struct Conversation {
    stream: LocalStream,
    pub(super) pieces: Pieces,
    pub(super) sent: Vec<u8>,
    pub(super) received: Vec<u8>,
    pub(super) writes: usize,
    /// Total time from the first byte of each request to the last byte of its reply.
    pub(super) took: Duration,
    sent_at: Instant,
}

impl Conversation {
    /// Connects to the socket.
    pub(super) fn open(socket: &str, pieces: Pieces) -> Result<Self, Failure> {
        let stream = LocalStream::connect(socket).map_err(Failure::negative)?;
        Ok(Self {
            stream,
            pieces,
            sent: Vec::new(),
            received: Vec::new(),
            writes: 0,
            took: Duration::ZERO,
            sent_at: Instant::now(),
        })
    }

    /// Sends a request.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sent_at = Instant::now();
        let piece = match self.pieces {
            Pieces::Whole => bytes.len(),
            Pieces::Bytes => 1,
        };
        for piece in bytes.chunks(piece) {
            self.stream.write_all_deadline(piece, Some(self.sent_at + TIMEOUT))?;
            self.writes += 1;
        }
        self.sent.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads until `is_whole` and returns the reply to the last request.
    pub(super) fn receive(&mut self, is_whole: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Failure> {
        let mut reply = Vec::new();
        let mut bytes = [0; 4096];
        while !is_whole(&reply) {
            match self.stream.read_deadline(&mut bytes, Some(self.sent_at + TIMEOUT))? {
                0 => return Err(Failure::negative("the daemon closed the connection before it replied")),
                length => reply.extend_from_slice(&bytes[..length]),
            }
        }
        self.took += self.sent_at.elapsed();
        self.received.extend_from_slice(&reply);
        Ok(reply)
    }
}
