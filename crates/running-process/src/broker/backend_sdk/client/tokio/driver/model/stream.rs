//! The client's end of a connection in memory.

use crate::broker::backend_sdk::model_check::wire::{Connection, Other, Wire};
use crate::descriptor::Descriptor;
use crate::transport::Incoming;
use std::io::{self, IoSlice, Read};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

#[derive(Debug)]
pub(crate) struct AsyncStream {
    connection: Arc<Connection>,
    /// The number of bytes that the other end leaves unread.
    room: usize,
}

impl AsyncStream {
    pub(super) fn pair(room: usize) -> (Self, Other) {
        let (connection, other) = Connection::new();
        (Self { connection, room }, other)
    }
}

pub(crate) fn poll_read_onto(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    ready!(stream.connection.poll(context, Wire::is_readable));
    // A frame in two reads, now and then.
    let mut bytes = [0; 30];
    let length = stream.connection.wire().incoming.read(&mut bytes)?;
    buffer.extend_from_slice(&bytes[..length]);
    Poll::Ready(Ok(length))
}

/// Reads what has arrived, if that is anything.
pub(crate) fn read_arrived_onto(stream: &AsyncStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; 30];
    match stream.connection.wire().incoming.read(&mut bytes)? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        length => {
            buffer.extend_from_slice(&bytes[..length]);
            Ok(length)
        }
    }
}

pub(crate) fn poll_write(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let AsyncStream { connection, room } = stream;
    ready!(connection.poll(context, |wire| wire.gone || wire.outgoing.len() < *room));
    Poll::Ready(connection.change(|wire| {
        if wire.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let piece = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        let length = piece.len().min(*room - wire.outgoing.len());
        wire.outgoing.extend_from_slice(&piece[..length]);
        Ok(length)
    }))
}

pub(crate) fn poll_read_onto_with(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
    _: &mut Incoming,
) -> Poll<io::Result<usize>> {
    poll_read_onto(stream, context, buffer)
}

pub(crate) fn read_arrived_onto_with(
    stream: &AsyncStream,
    buffer: &mut Vec<u8>,
    _: &mut Incoming,
) -> io::Result<usize> {
    read_arrived_onto(stream, buffer)
}

pub(crate) fn poll_write_with(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
    _: &[Descriptor],
) -> Poll<io::Result<usize>> {
    poll_write(stream, context, pieces)
}

impl Drop for AsyncStream {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.connection.change(|wire| wire.closed = true);
        }
    }
}
