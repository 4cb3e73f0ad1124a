//! One run of a case: its connections, its time, and the bytes that it sent and received.

use super::connection::Connection;
use super::exchange::Exchange;
use super::frame::RawFrame;
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The daemon under test.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) socket: PathBuf,
    pub(super) identity_file: Option<PathBuf>,
    /// The payload protocol under which the daemon serves the conformance protocol.
    pub(super) protocol: u64,
    /// The time limit of each case.
    pub(super) timeout: Duration,
}

/// The way in which a daemon breaks the rule of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) expected: String,
    pub(super) got: String,
    /// The bytes that were expected, if they are certain.
    pub(super) expected_bytes: Vec<u8>,
}

impl Fault {
    pub(super) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into(), expected_bytes: Vec::new() }
    }

    /// Puts the circumstances before the expectation.
    pub(super) fn context(self, circumstances: impl Display) -> Self {
        Self { expected: format!("{circumstances}: {}", self.expected), ..self }
    }
}

/// Fails unless `is_right`.
pub(super) fn check(
    is_right: bool,
    expected: impl Into<String>,
    got: impl FnOnce() -> String,
) -> Result<(), Fault> {
    if is_right { Ok(()) } else { Err(Fault::new(expected, got())) }
}

/// One run of a case.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    pub(super) target: &'a Target,
    pub(super) deadline: Instant,
    exchange: Rc<RefCell<Exchange>>,
    /// The number of connections so far.
    connections: Cell<usize>,
    notes: RefCell<Vec<String>>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self {
            target,
            deadline: Instant::now() + target.timeout,
            exchange: Rc::default(),
            connections: Cell::new(0),
            notes: RefCell::default(),
        }
    }

    /// Opens a connection.
    pub(super) fn connect(&self) -> Result<Connection, Fault> {
        let number = self.connections.get() + 1;
        self.connections.set(number);
        let stream = loop {
            match UnixStream::connect(&self.target.socket) {
                Ok(stream) => break stream,
                // The backlog is full. No event tells when it has room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < self.deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(Fault::new("the daemon accepts a connection", error.to_string())),
            }
        };
        Ok(Connection::new(stream, number, self.deadline, Rc::clone(&self.exchange)))
    }

    /// Returns a request of the conformance protocol.
    pub(super) fn request(&self, id: u64, payload: impl Into<Vec<u8>>) -> RawFrame {
        RawFrame::request(self.target.protocol, id, payload)
    }

    /// Returns the request that asks for `payload`.
    pub(super) fn echo(&self, id: u64, payload: &[u8]) -> RawFrame {
        self.request(id, [b"echo ", payload].concat())
    }

    /// Returns the response of the conformance protocol with `payload`.
    pub(super) fn response(&self, id: u64, payload: impl Into<Vec<u8>>) -> RawFrame {
        RawFrame::response(self.target.protocol, id, payload)
    }

    /// Sends a request for `payload` on a connection, and checks that the next frame is the answer.
    pub(super) fn echoes(&self, connection: &mut Connection, id: u64, payload: &[u8]) -> Result<(), Fault> {
        connection.send(&self.echo(id, payload).bytes())?;
        connection.expect(&self.response(id, payload))
    }

    /// Checks that the daemon answers a probe on another connection.
    pub(super) fn still_serves(&self) -> Result<(), Fault> {
        let probed = self.connect()?.probe(1, [0x5e; 32]);
        probed.map(drop).map_err(|fault| fault.context("then, on another connection"))
    }

    /// Adds a remark to the result.
    pub(super) fn note(&self, note: impl Into<String>) {
        self.notes.borrow_mut().push(note.into());
    }

    /// Ends the run and returns the remarks and what was sent and received.
    pub(super) fn end(self) -> (Vec<String>, Exchange) {
        (self.notes.take(), self.exchange.take())
    }
}
