//! Relaying between two sockets without copying bytes through user space: splice(2), through a pipe.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use super::asynchronous::{AsyncStream, AsyncWait, poll_write};
use crate::transport::upstream::Upstream;

/// Most bytes that are moved at once: the capacity of a pipe.
const MOST: usize = 64 << 10;
/// Most pipes that are kept for the next bytes.
const IDLE_PIPES: usize = 32;

thread_local! {
    /// Empty pipes. A connection has one only while bytes of it are in the pipe.
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn take() -> io::Result<Self> {
        if let Some(pipe) = PIPES.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { read, write })
    }

    /// Keeps the pipe, which is empty, for the next bytes of any connection.
    fn put_back(self) {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.len() < IDLE_PIPES {
                pipes.push(self);
            }
        });
    }
}

/// A connection to the daemon behind this one, and the bytes on their way in both directions.
#[derive(Debug)]
pub(crate) struct SpliceRelay {
    upstream: AsyncStream,
    /// Bytes that the client sent before, and how many of them were written.
    start: (Vec<u8>, usize),
    to_upstream: Direction,
    to_client: Direction,
}

impl SpliceRelay {
    /// Returns the relay of a connection whose client has sent `start` before.
    ///
    /// # Errors
    ///
    /// The runtime does not watch the socket.
    pub(crate) fn new(upstream: Upstream, start: Vec<u8>) -> io::Result<Self> {
        let upstream = AsyncStream::new(upstream.into_socket()?)?;
        let (to_upstream, to_client) = (Direction::default(), Direction::default());
        Ok(Self { upstream, start: (start, 0), to_upstream, to_client })
    }

    /// Relays what has arrived, until both sides have ended: what each side sends, and the end of that, in the same order.
    /// A side that does not read slows the other side down.
    ///
    /// # Errors
    ///
    /// The error of the system. That a side is gone is no error.
    pub(crate) fn poll(
        &mut self,
        client: &mut AsyncStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { upstream, start: (start, written), to_upstream, to_client } = self;
        loop {
            let watched = (client.watches_writing, upstream.watches_writing);
            if *written < start.len() {
                match poll_write(upstream, context, &[io::IoSlice::new(&start[*written..])]) {
                    Poll::Ready(Ok(length)) => {
                        *written += length;
                        continue;
                    }
                    Poll::Ready(Err(error)) => to_upstream.end_by(&error, client)?,
                    Poll::Pending => {}
                }
            }
            if !start.is_empty() && (*written == start.len() || to_upstream.ended) {
                (*start, *written) = (Vec::new(), 0);
            }
            if start.is_empty()
                && let Poll::Ready(Err(error)) = to_upstream.poll(client, upstream, context)
            {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(Err(error)) = to_client.poll(upstream, client, context) {
                return Poll::Ready(Err(error));
            }
            if to_upstream.ended && to_client.ended {
                return Poll::Ready(Ok(()));
            }
            let is_gone = |direction: &Direction, from: &mut AsyncStream, context: &mut Context<'_>| {
                direction.ended && AsyncWait::default().poll_gone(from, context).is_ready()
            };
            if is_gone(to_upstream, client, context) || is_gone(to_client, upstream, context) {
                return Poll::Ready(Ok(()));
            }
            // A socket that is watched anew forgets the task that waits to read it.
            if watched == (client.watches_writing, upstream.watches_writing) {
                return Poll::Pending;
            }
        }
    }
}

/// The bytes on their way from one socket to another.
#[derive(Debug, Default)]
struct Direction {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
    /// The first socket has sent its last byte.
    eof: bool,
    /// The end was passed on, or the second socket takes no more.
    ended: bool,
}

impl Direction {
    fn poll(
        &mut self,
        from: &mut AsyncStream,
        to: &mut AsyncStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.ended {
            while self.held > 0 {
                match ready!(self.poll_write(to, context)) {
                    Ok(length) => self.held -= length,
                    Err(error) => self.end_by(&error, from)?,
                }
            }
            if self.eof {
                self.ended = true;
                // It fails only if the connection has ended by itself.
                let _ = AsyncWait::shutdown_write(to);
            } else {
                match ready!(self.poll_read(from, context)) {
                    Ok(0) => self.eof = true,
                    Ok(length) => self.held = length,
                    Err(error) if is_reset(&error) => self.eof = true,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Moves what has arrived into the pipe, which is empty; 0 is the end of the stream.
    fn poll_read(&mut self, from: &AsyncStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let watched = from.watched()?;
        loop {
            let Poll::Ready(ready) = watched.poll_read_ready(context) else {
                if let Some(pipe) = self.pipe.take() {
                    pipe.put_back();
                }
                return Poll::Pending;
            };
            let mut ready = ready?;
            let pipe = match &mut self.pipe {
                Some(pipe) => pipe,
                none => none.insert(Pipe::take()?),
            };
            match splice(watched.get_ref(), None, &pipe.write, None, MOST, SpliceFlags::NONBLOCK) {
                // Fewer bytes than the pipe takes do not mean that no more have arrived: it may be full of short pieces.
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Moves bytes out of the pipe.
    fn poll_write(&self, to: &mut AsyncStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(self.held)) };
        loop {
            let watched = to.watched()?;
            if to.full {
                ready!(watched.poll_write_ready(context))?.clear_ready();
            }
            let moved = splice(&pipe.read, None, watched.get_ref(), None, self.held, SpliceFlags::NONBLOCK);
            to.full = moved == Err(Errno::WOULDBLOCK);
            match moved {
                Err(Errno::WOULDBLOCK) => to.watch_writing()?,
                Err(Errno::INTR) => {}
                moved => return Poll::Ready(Ok(moved?)),
            }
        }
    }

    /// Ends the direction, whose second socket takes no more: its writer learns that as it would without the relay. What the second
    /// socket has sent before is still relayed.
    ///
    /// # Errors
    ///
    /// `error`, if it means anything else.
    fn end_by(&mut self, error: &io::Error, from: &AsyncStream) -> io::Result<()> {
        if !is_reset(error) {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        self.ended = true;
        self.held = 0;
        // Bytes that nobody takes may be in it.
        self.pipe = None;
        // It fails only if the connection has ended by itself.
        let _ = shutdown(from.watched()?.get_ref(), Shutdown::Read);
        Ok(())
    }
}

/// Returns whether the error says that the other side has closed the connection.
fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
