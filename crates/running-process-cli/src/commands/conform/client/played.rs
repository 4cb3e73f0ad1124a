//! The daemon that is played for one run of the client.

use super::case::{ClientCase, Step};
use super::record::{Record, Sent};
use crate::commands::conform::case::Need;
use crate::commands::conform::exchange::Direction;
use crate::commands::conform::fault::Fault;
use crate::commands::conform::frame::{HEADER, MAX_BODY, PROBE, REQUEST, RawFrame};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The tag at which a client lists the encodings that it decodes.
const ACCEPTED_ENCODINGS: u64 = 1000;
/// Most bytes of one read.
const CHUNK: usize = 64 * 1024;
/// The pause of a daemon that sends single bytes.
const PACE: Duration = Duration::from_millis(5);

/// A daemon that keeps to the script of a case.
#[derive(Debug)]
pub(super) struct Played<'a> {
    case: &'a ClientCase,
    /// The encoded identity with which probes are answered.
    identity: &'a [u8],
    /// It does not block.
    listener: UnixListener,
    /// Two ends of a stream, of which the first is shut down at the end. The thread that accepts waits for the second.
    ending: (UnixStream, UnixStream),
    open: Mutex<Open>,
    record: Mutex<Record>,
}

/// The connections so far.
#[derive(Debug, Default)]
struct Open {
    streams: Vec<UnixStream>,
    /// Set at the end, when the client makes no connection any more.
    has_ended: bool,
}

impl<'a> Played<'a> {
    /// Listens at `socket`.
    pub(super) fn bind(
        case: &'a ClientCase,
        protocol: u64,
        socket: &Path,
        identity: &'a [u8],
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let ending = UnixStream::pair()?;
        let record = Mutex::new(Record { protocol, ..Record::default() });
        Ok(Self { case, identity, listener, ending, open: Mutex::default(), record })
    }

    /// Serves while `client` runs. Returns its result and what it sent.
    pub(super) fn serve<T>(self, client: impl FnOnce() -> T) -> (T, Record) {
        let played = &self;
        let result = thread::scope(|scope| {
            scope.spawn(move || {
                while let Some((stream, number)) = played.accept() {
                    scope.spawn(move || played.connection(stream, number));
                }
            });
            let result = client();
            played.end();
            result
        });
        (result, self.record.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the next connection and its number; `None` at the end, once those that the client has made are taken.
    fn accept(&self) -> Option<(UnixStream, usize)> {
        loop {
            // Asked before: a connection that the client makes meanwhile is not missed.
            let has_ended = locked(&self.open).has_ended;
            match self.listener.accept().and_then(|(stream, _)| with_copy(stream)) {
                Ok((stream, copy)) => {
                    let mut open = locked(&self.open);
                    open.streams.push(copy);
                    if open.has_ended {
                        shut_down(&stream);
                    }
                    return Some((stream, open.streams.len()));
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {} // the connection has ended already
                Err(_) if has_ended => return None,
                Err(_) => {
                    let mut ready = [
                        PollFd::new(&self.ending.1, PollFlags::IN),
                        PollFd::new(&self.listener, PollFlags::IN),
                    ];
                    // After a failure the loop looks again.
                    let _ready = poll(&mut ready, None);
                }
            }
        }
    }

    /// Ends the thread that accepts, and those of the connections.
    fn end(&self) {
        let mut open = locked(&self.open);
        open.has_ended = true;
        open.streams.iter().for_each(shut_down);
        shut_down(&self.ending.0);
    }

    fn connection(&self, mut stream: UnixStream, number: usize) {
        let mut received = Vec::new();
        let mut chunk = vec![0; CHUNK];
        // An error is the end of the connection, as its end is.
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            locked(&self.record).exchange.add(number, Direction::Received, &chunk[..length]);
            received.extend_from_slice(&chunk[..length]);
            loop {
                let steps = match take_body(&mut received) {
                    Ok(None) => break,
                    Ok(Some(body)) => self.frame(body),
                    Err(fault) => self.refuse(fault),
                };
                for step in steps {
                    if !self.take(step, &mut stream, number) {
                        // Fails if the client was faster.
                        let _ended = stream.shutdown(Shutdown::Both);
                        return;
                    }
                }
            }
        }
    }

    /// Does a step; returns whether the connection goes on.
    fn take(&self, step: Step, stream: &mut UnixStream, number: usize) -> bool {
        let (bytes, pieces) = match step {
            Step::Close => return false,
            Step::Send(bytes) => (bytes, usize::MAX),
            Step::SendBytewise(bytes) => (bytes, 1),
        };
        for piece in bytes.chunks(pieces) {
            locked(&self.record).exchange.add(number, Direction::Sent, piece);
            if stream.write_all(piece).is_err() {
                return false;
            }
            if pieces == 1 {
                thread::sleep(PACE);
            }
        }
        true
    }

    /// Records a frame and returns the daemon's steps.
    fn frame(&self, body: Vec<u8>) -> Vec<Step> {
        let frame = match RawFrame::read(&body) {
            Ok(frame) => frame,
            Err(reason) => return self.refuse(Fault::new("a body that is a frame", reason)),
        };
        let mut record = locked(&self.record);
        record.sent.push(Sent { frame: frame.clone(), body });
        let lists = |bit: u64| {
            frame.others.iter().any(|field| {
                field.tag == ACCEPTED_ENCODINGS
                    && field.value.number().is_some_and(|bits| bits >> bit & 1 == 1)
            })
        };
        if frame.protocol == PROBE {
            return (self.case.probe)(&frame, self.identity);
        }
        if frame.kind != REQUEST {
            return Vec::new();
        }
        let is_missing = |need: &&Need| match need {
            Need::Notices => !lists(0),
            Need::Zstd => !lists(1),
            Need::Snappy => !lists(2),
            Need::Lz4 => !lists(3),
            _ => false,
        };
        record.missing = self.case.about.needs.iter().find(is_missing).copied();
        if record.missing.is_some() { vec![Step::Close] } else { (self.case.answer)(&frame) }
    }

    fn refuse(&self, fault: Fault) -> Vec<Step> {
        locked(&self.record).fault.get_or_insert(fault);
        vec![Step::Close]
    }
}

/// Makes the stream block, which some systems do not do by themselves, and copies it.
fn with_copy(stream: UnixStream) -> io::Result<(UnixStream, UnixStream)> {
    stream.set_nonblocking(false)?;
    let copy = stream.try_clone()?;
    Ok((stream, copy))
}

/// Ends the connection. What has arrived can still be read.
fn shut_down(stream: &UnixStream) {
    // Fails on a connection that has ended.
    let _ended = stream.shutdown(Shutdown::Both);
}

/// Takes the body of the next frame, if it is complete.
fn take_body(received: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Fault> {
    match received.first() {
        None => return Ok(None),
        Some(1) => {}
        Some(byte) => {
            return Err(Fault::new("a frame, whose first byte is 1", format!("the byte 0x{byte:02x}")));
        }
    }
    let Some(length) = received.get(1..HEADER).and_then(|length| length.try_into().ok()) else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_BODY {
        return Err(Fault::new("a body of at most 16 MiB", format!("a header with the length {length}")));
    }
    let Some(body) = received.get(HEADER..HEADER + length) else { return Ok(None) };
    let body = body.to_vec();
    received.drain(..HEADER + length);
    Ok(Some(body))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
