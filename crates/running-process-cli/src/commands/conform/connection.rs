//! A connection of a case to the daemon.

use super::exchange::{Direction, Exchange};
use super::fault::{Fault, check};
use super::frame::{HEADER, MAX_BODY, PROBE, RESPONSE, RawFrame};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Connects to a socket. A full backlog is an error, [`WouldBlock`](io::ErrorKind::WouldBlock), and not waited for.
pub(super) fn open(socket: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let stream = UnixStream::from(net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?);
    stream.set_nonblocking(true)?;
    net::connect(&stream, &address)?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A connection that waits for nothing longer than its case may take.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    number: usize,
    /// The time at which it stops to wait.
    pub(super) deadline: Instant,
    exchange: Rc<RefCell<Exchange>>,
    /// Bytes that were read and belong to no frame yet.
    received: Vec<u8>,
}

/// The next thing that a connection brings.
#[derive(Debug)]
pub(super) enum Next {
    Frame(RawFrame),
    /// The end of the stream, behind the last frame or within one.
    End,
}

impl Connection {
    pub(super) fn new(
        stream: UnixStream,
        number: usize,
        deadline: Instant,
        exchange: Rc<RefCell<Exchange>>,
    ) -> Self {
        Self { stream, number, deadline, exchange, received: Vec::new() }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Returns the time that is left; fails if none is.
    fn left(&self, expected: &str) -> Result<Duration, Fault> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Fault::new(expected, "nothing in time")) } else { Ok(left) }
    }

    /// Writes bytes in one piece. A daemon that has closed the connection is no fault here: the next read finds it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let expected = "the daemon reads what is sent";
        self.exchange.borrow_mut().add(self.number, Direction::Sent, bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = self.left(expected)?;
            let written = self.stream.set_write_timeout(Some(left)).and_then(|()| self.stream.write(rest));
            match written {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_again(&error) => {}
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(Fault::new(expected, error.to_string())),
            }
        }
        Ok(())
    }

    /// Ends the direction to the daemon.
    pub(super) fn end_writing(&mut self) -> Result<(), Fault> {
        match self.stream.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                Err(Fault::new("the connection is open", error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Reads once; returns whether anything came before the end.
    fn read(&mut self, expected: &str) -> Result<bool, Fault> {
        let mut chunk = [0; 16 * 1024];
        loop {
            let left = self.left(expected)?;
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut chunk));
            match read {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    self.exchange.borrow_mut().add(self.number, Direction::Received, &chunk[..length]);
                    self.received.extend_from_slice(&chunk[..length]);
                    return Ok(true);
                }
                Err(error) if is_again(&error) => {}
                Err(error) if is_end(&error) => return Ok(false),
                Err(error) => return Err(Fault::new(expected, error.to_string())),
            }
        }
    }

    /// Returns the next frame or the end. What is no frame of the wire is a fault.
    pub(super) fn next(&mut self, expected: &str) -> Result<Next, Fault> {
        loop {
            if let Some(frame) = self.take_frame(expected)? {
                return Ok(Next::Frame(frame));
            }
            if !self.read(expected)? {
                return Ok(Next::End);
            }
        }
    }

    fn take_frame(&mut self, expected: &str) -> Result<Option<RawFrame>, Fault> {
        let wrong = |got: String| Fault::new(expected, got);
        match self.received.first() {
            None => return Ok(None),
            Some(1) => {}
            Some(byte) => {
                return Err(wrong(format!("a message that begins with the byte 0x{byte:02x}, not 1")));
            }
        }
        let Some(length) = self.received.get(1..HEADER).and_then(|length| length.try_into().ok()) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_BODY {
            return Err(wrong(format!("a header with the length {length}, above the cap")));
        }
        let Some(body) = self.received.get(HEADER..HEADER + length) else { return Ok(None) };
        let frame =
            RawFrame::read(body).map_err(|reason| wrong(format!("a body that is no frame: {reason}")))?;
        self.received.drain(..HEADER + length);
        Ok(Some(frame))
    }

    /// Returns the next frame.
    pub(super) fn frame(&mut self, expected: &str) -> Result<RawFrame, Fault> {
        match self.next(expected)? {
            Next::Frame(frame) => Ok(frame),
            Next::End if self.received.is_empty() => Err(Fault::new(expected, "the end of the connection")),
            Next::End => Err(Fault::new(
                expected,
                format!(
                    "the end of the connection within a frame, after {} of its bytes",
                    self.received.len()
                ),
            )),
        }
    }

    /// Checks that the next frame has the fields of `frame`, but for trace context, deadline and fields with other tags.
    pub(super) fn expect(&mut self, frame: &RawFrame) -> Result<(), Fault> {
        self.receive(frame).map(drop)
    }

    /// Returns the next frame, and checks it like [`expect`](Self::expect).
    pub(super) fn receive(&mut self, frame: &RawFrame) -> Result<RawFrame, Fault> {
        let expected = frame.to_string();
        let with_bytes = |fault| Fault { expected_bytes: frame.bytes(), ..fault };
        let got = self.frame(&expected).map_err(with_bytes)?;
        check(is_as(frame, &got), expected, || got.to_string()).map_err(with_bytes)?;
        Ok(got)
    }

    /// Checks that the next frames are these, in any order, each as in [`expect`](Self::expect).
    pub(super) fn expect_in_any_order(&mut self, frames: &[RawFrame]) -> Result<(), Fault> {
        let mut missing: Vec<&RawFrame> = frames.iter().collect();
        while let Some(first) = missing.first() {
            let expected = match missing.len() {
                1 => first.to_string(),
                more => format!("{first}, or one of {} others", more - 1),
            };
            let got = self.frame(&expected)?;
            match missing.iter().position(|frame| is_as(frame, &got)) {
                Some(at) => drop(missing.swap_remove(at)),
                None => return Err(Fault::new(expected, got.to_string())),
            }
        }
        Ok(())
    }

    /// Checks that the connection ends, and that nothing comes before.
    pub(super) fn ends(&mut self) -> Result<(), Fault> {
        let expected = "the end of the connection, and nothing before it";
        match self.next(expected)? {
            Next::End if self.received.is_empty() => Ok(()),
            Next::End => Err(Fault::new(expected, format!("{} bytes of a frame", self.received.len()))),
            Next::Frame(frame) => Err(Fault::new(expected, frame.to_string())),
        }
    }

    /// Checks that the connection ends, before or after a refusal.
    pub(super) fn ends_or_refuses(&mut self) -> Result<(), Fault> {
        let expected = "the end of the connection, or a refusal and the end";
        loop {
            match self.next(expected)? {
                Next::End => return Ok(()),
                Next::Frame(frame) if frame.refusal().is_some() => {}
                Next::Frame(frame) => return Err(Fault::new(expected, frame.to_string())),
            }
        }
    }

    /// Returns the refusal of a request, which is to be the next frame, as reason and message.
    pub(super) fn refusal(&mut self, id: u64, reason: u64) -> Result<String, Fault> {
        let expected = format!("a refusal of request {id} with the reason {reason}");
        let frame = self.frame(&expected)?;
        match frame.refusal() {
            Some((got, message)) if got == reason && frame.id == id && frame.version == 1 => Ok(message),
            _ => Err(Fault::new(expected, frame.to_string())),
        }
    }

    /// Checks that a probe is answered. Other cases look at the answer.
    pub(super) fn answers(&mut self) -> Result<(), Fault> {
        self.send(&RawFrame::probe(1, &[0x5e; 32]).bytes())?;
        self.frame("the answer to a probe").map(drop)
    }

    /// Sends a probe and returns the encoded identity of the response.
    pub(super) fn probe(&mut self, id: u64, nonce: [u8; 32]) -> Result<Vec<u8>, Fault> {
        self.send(&RawFrame::probe(id, &nonce).bytes())?;
        self.probe_response(id, nonce)
    }

    /// Returns the encoded identity of a probe's response, which is to be the next frame.
    pub(super) fn probe_response(&mut self, id: u64, nonce: [u8; 32]) -> Result<Vec<u8>, Fault> {
        let expected = format!("the response to the probe with the id {id}: the nonce, then an identity");
        let frame = self.frame(&expected)?;
        let identity = frame.payload.strip_prefix(&nonce);
        let is_response = (frame.version, frame.kind, frame.protocol, frame.id, frame.encoding)
            == (1, RESPONSE, PROBE, id, 0);
        match identity {
            Some(identity) if is_response && !identity.is_empty() => Ok(identity.to_vec()),
            _ => Err(Fault::new(expected, frame.to_string())),
        }
    }
}

/// Returns whether `got` has the fields of `frame` that every peer reads.
fn is_as(frame: &RawFrame, got: &RawFrame) -> bool {
    let read = |frame: &RawFrame| (frame.version, frame.kind, frame.protocol, frame.id, frame.encoding);
    read(frame) == read(got) && frame.payload == got.payload
}

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Returns whether the other side has closed the connection, with or without having read everything.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
