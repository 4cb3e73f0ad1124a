//! One run of a case: its connections, its time, and the bytes that it sent and received.

use super::connection::{self, Connection};
use super::exchange::Exchange;
use super::fault::Fault;
use super::frame::RawFrame;
use crate::cli::ConformArgs;
use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The payload protocol of the conformance protocol, unless `--protocol` names another one.
pub(super) const PROTOCOL: u32 = 0xF0C0;

/// The daemon under test.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) socket: PathBuf,
    pub(super) identity_file: Option<PathBuf>,
    /// The payload protocol under which the daemon serves the conformance protocol.
    pub(super) protocol: u64,
    /// The time limit of each case.
    pub(super) timeout: Duration,
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

impl Target {
    /// Returns the daemon at a socket, to be judged as the arguments say.
    pub(super) fn new(arguments: &ConformArgs, socket: PathBuf) -> Self {
        Self {
            socket,
            identity_file: arguments.identity_file.clone(),
            protocol: arguments.protocol.unwrap_or(PROTOCOL).into(),
            timeout: arguments.timeout,
        }
    }
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
            match connection::open(&self.target.socket) {
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

    /// Writes each piece by itself, and lets the daemon answer a probe on another connection in between, so that it has had time to
    /// read the piece alone. No event tells when it has.
    pub(super) fn send_pieces<'b>(
        &self,
        connection: &mut Connection,
        pieces: impl IntoIterator<Item = &'b [u8]>,
    ) -> Result<(), Fault> {
        let mut other = self.connect()?;
        pieces.into_iter().try_for_each(|piece| {
            connection.send(piece)?;
            other.answers()
        })
    }

    /// Checks that the daemon answers on another connection.
    pub(super) fn still_serves(&self) -> Result<(), Fault> {
        self.connect()?.answers().map_err(|fault| fault.context("then, on another connection"))
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
