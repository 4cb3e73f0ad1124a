//! One connection of the demo, and what went over it.

use crate::failure::Failure;
use running_process::broker::backend_sdk::LocalStream;
use std::time::{Duration, Instant};

/// Longer than any answer of a healthy daemon takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the bytes are handed to the socket.
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
    /// From each first byte out to the last byte back.
    pub(super) took: Duration,
    asked: Instant,
}

impl Conversation {
    pub(super) fn open(socket: &str, pieces: Pieces) -> Result<Self, Failure> {
        let stream = LocalStream::connect(socket).map_err(Failure::negative)?;
        Ok(Self {
            stream,
            pieces,
            sent: Vec::new(),
            received: Vec::new(),
            writes: 0,
            took: Duration::ZERO,
            asked: Instant::now(),
        })
    }

    pub(super) fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.asked = Instant::now();
        let piece = match self.pieces {
            Pieces::Whole => bytes.len(),
            Pieces::Bytes => 1,
        };
        for piece in bytes.chunks(piece) {
            self.stream.write_all_deadline(piece, Some(self.asked + PATIENCE))?;
            self.writes += 1;
        }
        self.sent.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads until `is_whole`; gives what came for the last question.
    pub(super) fn hear(&mut self, is_whole: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Failure> {
        let mut answer = Vec::new();
        let mut bytes = [0; 4096];
        while !is_whole(&answer) {
            match self.stream.read_deadline(&mut bytes, Some(self.asked + PATIENCE))? {
                0 => return Err(Failure::negative("the daemon closed the connection before it answered")),
                length => answer.extend_from_slice(&bytes[..length]),
            }
        }
        self.took += self.asked.elapsed();
        self.received.extend_from_slice(&answer);
        Ok(answer)
    }
}
