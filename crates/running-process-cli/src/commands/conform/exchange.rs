//! The bytes that a case sent and received.

/// Most bytes of one connection and direction that are kept.
const KEPT: usize = 64 * 1024;
/// Most connections that are kept.
const CONNECTIONS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Sent,
    Received,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// Bytes in one direction of a connection, in the order in which they went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    /// The number of the connection, from 1.
    pub(super) connection: usize,
    pub(super) direction: Direction,
    /// The first bytes.
    pub(super) bytes: Vec<u8>,
    /// The number of all bytes.
    pub(super) length: u64,
}

/// All that went over the connections of a case.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) streams: Vec<Stream>,
}

impl Exchange {
    /// Adds bytes that went over a connection.
    pub(super) fn add(&mut self, connection: usize, direction: Direction, bytes: &[u8]) {
        let is_its = |stream: &&mut Stream| (stream.connection, stream.direction) == (connection, direction);
        let stream = match self.streams.iter_mut().find(is_its) {
            Some(stream) => stream,
            None if connection > CONNECTIONS => return,
            None => {
                self.streams.push(Stream { connection, direction, bytes: Vec::new(), length: 0 });
                let Some(stream) = self.streams.last_mut() else { return };
                stream
            }
        };
        let kept = bytes.len().min(KEPT - stream.bytes.len());
        stream.bytes.extend_from_slice(&bytes[..kept]);
        stream.length += bytes.len() as u64;
    }
}
