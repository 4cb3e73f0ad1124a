//! The task that owns the socket and the state machine.

#[cfg(all(test, shuttle))]
pub(super) mod model;

use super::super::client_connection::{ById, ClientConnection, ClientEvent, RequestId};
use super::super::frame_client::{ENOUGH_OUTPUT, FrameClientError, stream_error};
use super::super::output::PIECES;
use super::desk::{BATCH, Desk, Request, Response, Ticket, Work};
use super::sync::{AsyncStream, poll_read_onto, poll_write, read_arrived_onto};
use crate::broker::protocol::Frame;
use crate::transport::Late;
use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::mpsc::{self, error::TrySendError};

pub(super) struct Driver {
    stream: AsyncStream,
    connection: ClientConnection,
    /// What the daemon was asked.
    tickets: ById<RequestId, Ticket>,
    /// The same the other way round.
    ids: ById<Ticket, RequestId>,
    /// The daemon takes nothing more; what it said before is still to be read.
    write_closed: bool,
    /// What is empty between turns keeps its memory.
    work: Work,
    responses: Vec<(Ticket, Response)>,
    wakers: Vec<Waker>,
    // Behind the stream, so that whoever is told of the end finds it closed, and before the events, which end with it.
    open: Opened,
    events: mpsc::Sender<Frame>,
}

/// The desk of a connection, which has ended when this is dropped.
struct Opened {
    desk: Arc<Desk>,
    /// Why it will have ended; with its runtime if nothing else is known.
    reason: FrameClientError,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.desk.end(std::mem::replace(&mut self.reason, FrameClientError::Dead));
    }
}

impl Driver {
    pub(super) fn new(stream: AsyncStream, desk: Arc<Desk>, events: mpsc::Sender<Frame>) -> Self {
        Self {
            stream,
            connection: ClientConnection::new(),
            tickets: ById::default(),
            ids: ById::default(),
            write_closed: false,
            work: Work::default(),
            responses: Vec::new(),
            wakers: Vec::new(),
            open: Opened { desk, reason: FrameClientError::Dead },
            events,
        }
    }

    /// Ends with the connection, or when the last client is gone. Whoever still waits is told the reason then.
    pub(super) async fn run(mut self) {
        if let Err(error) = poll_fn(|context| self.turn(context)).await {
            self.open.reason = error;
        }
    }

    /// Does what can be done now. Where nothing can, the task will be woken.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FrameClientError>> {
        loop {
            if !self.take_work(context) {
                return Poll::Ready(Ok(()));
            }
            self.write(context)?;
            if let Some(look) = self.work.look.take() {
                self.read_arrived()?;
                self.open.desk.looked(look);
            }
            if self.work.more && self.connection.unwritten() < ENOUGH_OUTPUT {
                continue;
            }
            ready!(self.read(context))?;
        }
    }

    /// Takes what there is to do until the output is enough. `false` if there is no client any more.
    fn take_work(&mut self, context: &Context<'_>) -> bool {
        loop {
            let room = ENOUGH_OUTPUT.saturating_sub(self.connection.unwritten());
            let goes_on = self.open.desk.take(room, context.waker(), &mut self.work);
            self.work();
            if !goes_on {
                return false;
            }
            if !self.work.more || self.connection.unwritten() >= ENOUGH_OUTPUT {
                return true;
            }
        }
    }

    /// Puts what was taken into the output.
    fn work(&mut self) {
        self.connection.set_encoding_policy(self.work.encodings);
        for ticket in self.work.given_up.drain(..) {
            if let Some(request) = self.ids.remove(&ticket) {
                self.tickets.remove(&request);
                self.connection.cancel(request);
            }
        }
        for (ticket, request) in self.work.requests.drain(..) {
            let Request { payload_protocol, payload, deadline_unix_ms } = request;
            match self.connection.send_request_before(payload_protocol, payload, deadline_unix_ms) {
                Ok(request) => {
                    self.tickets.insert(request, ticket);
                    self.ids.insert(ticket, request);
                }
                Err(error) => self.responses.push((ticket, Err(FrameClientError::Request(error)))),
            }
        }
        self.answer();
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<(), FrameClientError> {
        while !self.write_closed && !self.connection.output().is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.connection.output_slices(&mut pieces);
            let Poll::Ready(written) = poll_write(&mut self.stream, context, &pieces[..count]) else {
                return Ok(());
            };
            match written {
                Ok(written) => self.connection.output_written(written),
                Err(error) => match stream_error(error) {
                    FrameClientError::Closed => self.write_closed = true,
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Reads once and sorts what came.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FrameClientError>> {
        let read = ready!(poll_read_onto(&mut self.stream, context, self.connection.receive_buffer()));
        if read.map_err(stream_error)? == 0 {
            self.connection.receive_eof()?;
            return Poll::Ready(Err(FrameClientError::Closed));
        }
        let sorted = self.sort();
        self.answer();
        Poll::Ready(sorted)
    }

    /// Reads what has arrived, whatever the runtime has noticed of it, and sorts it.
    fn read_arrived(&mut self) -> Result<(), FrameClientError> {
        let mut late = Late::default();
        // The end, and why there is nothing to read, are for who reads in time.
        while let Some(Ok(1..)) =
            late.read(|| read_arrived_onto(&self.stream, self.connection.receive_buffer()))
        {
            self.sort()?;
        }
        self.answer();
        Ok(())
    }

    fn sort(&mut self) -> Result<(), FrameClientError> {
        while let Some(event) = self.connection.next_owned_event()? {
            let (request, response) = match event {
                ClientEvent::Response(request, frame) => (request, Ok(frame)),
                ClientEvent::Refused(request, refusal) => (request, Err(FrameClientError::Refused(refusal))),
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => {
                    if let Err(TrySendError::Full(_)) = self.events.try_send(frame) {
                        return Err(FrameClientError::TooManyEvents);
                    }
                    continue;
                }
            };
            if let Some(ticket) = self.tickets.remove(&request) {
                self.ids.remove(&ticket);
                self.responses.push((ticket, response));
            }
            if self.responses.len() == BATCH {
                self.answer();
            }
        }
        Ok(())
    }

    fn answer(&mut self) {
        if !self.responses.is_empty() {
            self.open.desk.answer(&mut self.responses, &mut self.wakers);
        }
    }
}
