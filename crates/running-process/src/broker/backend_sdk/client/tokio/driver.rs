//! The task that owns the socket and the state machine.

#[cfg(all(test, shuttle))]
pub(super) mod model;

use super::queue::{BATCH, Delivery, Desk, Request, Ticket, UNSOLICITED, Work};
use super::sync::{AsyncStream, poll_read_onto, poll_write, read_arrived_onto};
use crate::broker::backend_sdk::client::blocking::{ENOUGH_OUTPUT, kept_bytes};
use crate::broker::backend_sdk::client::error::{FrameClientError, stream_error};
use crate::broker::backend_sdk::proto::client_connection::RequestHead;
use crate::broker::backend_sdk::proto::client_connection::{ClientConnection, ClientEvent, RequestId};
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::backend_sdk::proto::send_buffer::MAX_IOVECS;
use crate::broker::protocol::Frame;
use crate::transport::LateReads;
use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// Most bytes that a turn reads before the callers take what was read.
const ENOUGH_READ: usize = 1024 * 1024;

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
    deliveries: Vec<(Ticket, Delivery)>,
    wakers: Vec<Waker>,
    /// Room for events, in bytes.
    event_room: usize,
    /// Bytes that were read may hold more frames, for which there was no room.
    unsorted: bool,
    // Behind the stream, so that a caller that is told of the end finds it closed.
    open: Opened,
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
    pub(super) fn new(stream: AsyncStream, desk: Arc<Desk>) -> Self {
        Self {
            stream,
            connection: ClientConnection::new(),
            tickets: ById::default(),
            ids: ById::default(),
            write_closed: false,
            work: Work::default(),
            deliveries: Vec::new(),
            wakers: Vec::new(),
            event_room: 0,
            unsorted: false,
            open: Opened { desk, reason: FrameClientError::Dead },
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
        let mut read = 0;
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
            if self.unsorted {
                if self.event_room == 0 {
                    // A caller that takes an event wakes the task.
                    return Poll::Pending;
                }
                self.sort()?;
                continue;
            }
            if read >= ENOUGH_READ {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            read += ready!(self.read(context))?;
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
        self.connection.set_unsolicited_events(self.work.unsolicited);
        self.event_room = self.work.event_room;
        for ticket in self.work.given_up.drain(..) {
            if let Some(request) = self.ids.remove(&ticket) {
                self.tickets.remove(&request);
                self.connection.cancel(request);
            }
        }
        for (ticket, request) in self.work.requests.drain(..) {
            let Request { payload_protocol, payload, deadline_unix_ms, options, streamed } = request;
            let head = match &options {
                Some(options) => options.head(deadline_unix_ms, streamed),
                None => RequestHead { deadline_unix_ms, events: streamed, ..RequestHead::default() },
            };
            match self.connection.send_request_with(payload_protocol, payload, &head) {
                Ok(request) => {
                    self.tickets.insert(request, ticket);
                    self.ids.insert(ticket, request);
                }
                Err(error) => {
                    let answer = Delivery::Answer(Err(FrameClientError::Request(Arc::new(error))));
                    self.deliveries.push((ticket, answer));
                }
            }
        }
        self.deliver();
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<(), FrameClientError> {
        while !self.write_closed && !self.connection.output().is_empty() {
            let mut pieces = [IoSlice::new(&[]); MAX_IOVECS];
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

    /// Reads once and sorts what came; gives how many bytes.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, FrameClientError>> {
        let read = ready!(poll_read_onto(&mut self.stream, context, self.connection.receive_buffer()));
        let read = read.map_err(stream_error)?;
        if read == 0 {
            self.connection.receive_eof()?;
            return Poll::Ready(Err(FrameClientError::Closed));
        }
        Poll::Ready(self.sort().map(|()| read))
    }

    /// Reads what has arrived, whatever the runtime has noticed of it, and sorts it.
    fn read_arrived(&mut self) -> Result<(), FrameClientError> {
        let mut late = LateReads::default();
        // The end of stream, and an error, are left to the reads in time.
        while !self.unsorted
            && let Some(Ok(1..)) =
                late.read(|| read_arrived_onto(&self.stream, self.connection.receive_buffer()))
        {
            self.sort()?;
        }
        Ok(())
    }

    /// Sorts what was read while there is room for its events.
    fn sort(&mut self) -> Result<(), FrameClientError> {
        let sorted = self.sort_while_room();
        self.deliver();
        sorted
    }

    fn sort_while_room(&mut self) -> Result<(), FrameClientError> {
        self.unsorted = true;
        while let Some(event) = self.connection.next_owned_event()? {
            let (request, response) = match event {
                ClientEvent::Response(request, frame) => (request, Ok(frame)),
                ClientEvent::Refused(request, refusal) => (request, Err(FrameClientError::Refused(refusal))),
                ClientEvent::RequestEvent(request, frame) => {
                    let ticket = self.tickets.get(&request).copied();
                    if !self.keep(ticket, frame) {
                        return Ok(());
                    }
                    continue;
                }
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => {
                    if !self.keep(Some(UNSOLICITED), frame) {
                        return Ok(());
                    }
                    continue;
                }
            };
            if let Some(ticket) = self.tickets.remove(&request) {
                self.ids.remove(&ticket);
                self.deliveries.push((ticket, Delivery::Answer(response)));
            }
            if self.deliveries.len() >= BATCH {
                self.deliver();
            }
        }
        self.unsorted = false;
        Ok(())
    }

    /// Delivers an event, if a caller takes it. Returns whether there is room for another one.
    fn keep(&mut self, ticket: Option<Ticket>, frame: Frame) -> bool {
        let Some(ticket) = ticket else { return true };
        self.event_room = self.event_room.saturating_sub(kept_bytes(&frame));
        self.deliveries.push((ticket, Delivery::Event(frame)));
        if self.event_room == 0 || self.deliveries.len() >= BATCH {
            self.deliver();
        }
        self.event_room > 0
    }

    fn deliver(&mut self) {
        if !self.deliveries.is_empty() {
            self.event_room = self.open.desk.deliver(&mut self.deliveries, &mut self.wakers);
        }
    }
}
