//! The task that owns the socket and the state machine.

#[cfg(all(test, shuttle))]
pub(super) mod model;
#[cfg(all(test, unix, not(shuttle)))]
mod tests;

use super::queue::{Batch, Delivery, LinkName, MAX_BATCH, Request, RequestQueue};
use super::sync::{
    AsyncStream, connect_async, poll_read_onto, poll_read_onto_with, poll_write, poll_write_with,
    read_arrived_onto, read_arrived_onto_with,
};
use crate::broker::backend_sdk::client::descriptor_request::{DESCRIPTOR_PROBE, probe, taken};
use crate::broker::backend_sdk::client::error::{FrameClientError, stream_error};
use crate::broker::backend_sdk::client::incoming::IncomingDescriptors;
use crate::broker::backend_sdk::client::limits::SEND_HIGH_WATER;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::proto::client_connection::{
    ClientConnection, ClientEvent, RequestHead, RequestId,
};
use crate::broker::backend_sdk::proto::send_buffer::MAX_IOVECS;
use crate::descriptor::are_too_many;
use crate::transport::{Incoming, LateReads};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// The most bytes that the driver reads before it lets the callers run.
const MAX_READ_PER_POLL: usize = 1024 * 1024;

pub(super) struct Driver {
    stream: AsyncStream,
    connection: ClientConnection,
    descriptors: IncomingDescriptors,
    /// The number of descriptors that the daemon takes, as the callers know it.
    told_descriptors: u8,
    /// The driver's own question how many that are. No request is taken before its answer.
    question: Option<RequestId>,
    writing: Writing,
    // These three are empty between polls, and keep their memory.
    batch: Batch,
    deliveries: Vec<Delivery>,
    wakers: Vec<Waker>,
    /// Room for events, in bytes.
    event_room: usize,
    /// The connection may hold more frames, for which there was no room.
    undispatched: bool,
    on_move: OnMove,
    /// The daemon has said that another process serves the endpoint.
    moved: bool,
    // Dropped after the stream, so that a caller that learns of the end finds it closed.
    end: EndGuard,
}

/// The state of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// It begins with a whole frame, or is empty.
    Whole,
    /// It may begin in the middle of a frame.
    Cut,
    /// The daemon reads nothing more. What it sent before is still read.
    Closed,
}

/// The behaviour of a client whose daemon says that another process serves the endpoint.
#[derive(Clone, Debug)]
pub(super) enum OnMove {
    /// It goes on with the connection.
    Stay,
    /// It ends the connection once no request is in flight.
    End,
    /// It connects to this path at once. The former connection ends once no request is in flight there.
    Connect(Arc<str>),
}

/// Ends the queue of a connection when it is dropped, or the former connection.
struct EndGuard {
    queue: Arc<RequestQueue>,
    /// The name of the former connection; `None` if it takes requests.
    former: Option<LinkName>,
    /// The reason; `None` if the runtime drops the driver.
    reason: Option<FrameClientError>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let reason = self.reason.take().unwrap_or_else(|| {
            FrameClientError::Stream(Arc::new(io::Error::other("the runtime of the connection has ended")))
        });
        match self.former {
            None => self.queue.end(reason),
            Some(name) => self.queue.end_former(name, &reason),
        }
    }
}

impl Driver {
    pub(super) fn new(stream: AsyncStream, queue: Arc<RequestQueue>, on_move: OnMove) -> Self {
        let mut connection = ClientConnection::new();
        connection.want_moved();
        Self {
            stream,
            connection,
            descriptors: IncomingDescriptors::default(),
            told_descriptors: 0,
            question: None,
            writing: Writing::Whole,
            batch: Batch::default(),
            deliveries: Vec::new(),
            wakers: Vec::new(),
            event_room: 0,
            undispatched: false,
            on_move,
            moved: false,
            end: EndGuard { queue, former: None, reason: None },
        }
    }

    /// Runs until the connection ends or the last client is dropped. Callers that still wait get the reason then.
    pub(super) async fn run(mut self) {
        while let Err(error) = poll_fn(|context| self.poll(context)).await {
            self.end_writing();
            match self.follow() {
                Some(mut former) => former.end.reason = Some(error),
                None => {
                    self.end.reason = Some(error);
                    return;
                }
            }
        }
        self.end.reason = Some(FrameClientError::Dead);
    }

    /// Does all that is possible now, and registers for the rest.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FrameClientError>> {
        let mut read = 0;
        loop {
            if let Some(former) = self.follow()
                && !former.is_idle()
            {
                tokio::spawn(former.run());
            }
            if !self.take_requests(context) {
                return Poll::Ready(Ok(()));
            }
            self.write(context)?;
            if let Some(barrier) = self.batch.barrier.take() {
                self.read_arrived()?;
                self.end.queue.pass_barrier(self.end.former, barrier);
                // The answer for which requests wait may have come, or a notice.
                continue;
            }
            if self.moved && self.ends_moved() {
                return Poll::Ready(Ok(()));
            }
            if self.batch.more && self.connection.unwritten() < SEND_HIGH_WATER {
                continue;
            }
            if self.undispatched {
                if self.event_room == 0 {
                    // A caller that takes an event wakes the driver.
                    return Poll::Pending;
                }
                self.dispatch()?;
                continue;
            }
            if read >= MAX_READ_PER_POLL {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            read += ready!(self.read(context))?;
        }
    }

    /// Takes requests until [`SEND_HIGH_WATER`]. Returns `false` if there is no client any more.
    fn take_requests(&mut self, context: &Context<'_>) -> bool {
        loop {
            // A request stays unsent if the daemon reads nothing more.
            let takes = self.writing != Writing::Closed && self.question.is_none();
            let room = SEND_HIGH_WATER.saturating_sub(self.connection.unwritten());
            let room = if takes { room } else { 0 };
            let former = self.end.former;
            let is_open = self.end.queue.take_batch(former, room, context.waker(), &mut self.batch);
            self.batch.more &= takes;
            self.send_batch();
            if !is_open {
                return false;
            }
            if !self.batch.more || self.connection.unwritten() >= SEND_HIGH_WATER {
                return true;
            }
        }
    }

    /// Puts the batch into the output.
    fn send_batch(&mut self) {
        self.connection.set_encoding_policy(self.batch.encodings);
        self.connection.set_unsolicited_events(self.batch.unsolicited);
        self.event_room = self.batch.event_room;
        for id in self.batch.cancelled.drain(..) {
            self.connection.cancel(id);
        }
        for (id, request) in self.batch.requests.drain(..) {
            let Request { payload_protocol, payload, deadline_unix_ms, options, events } = request;
            let head = match &options {
                Some(options) => options.head(deadline_unix_ms, events),
                None => RequestHead { deadline_unix_ms, events, ..RequestHead::default() },
            };
            let sent =
                taken(payload.descriptor_count(), self.connection.daemon_descriptors()).and_then(|()| {
                    let sent = self.connection.send_payload_as(id, payload_protocol, payload, &head);
                    sent.map_err(|error| FrameClientError::Request(Arc::new(error)))
                });
            if let Err(error) = sent {
                self.deliveries.push(Delivery::Response(id, Err(error)));
            }
        }
        self.deliver();
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<(), FrameClientError> {
        while self.writing != Writing::Closed && !self.connection.output().is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
            let count = self.connection.output_slices(&mut slices);
            let (slices, descriptors) = (&slices[..count], self.connection.output_descriptors());
            let written = if descriptors.is_empty() {
                poll_write(&mut self.stream, context, slices)
            } else {
                poll_write_with(&mut self.stream, context, slices, descriptors)
            };
            let Poll::Ready(written) = written else { return Ok(()) };
            match written {
                Ok(written) => {
                    self.connection.output_written(written);
                    let is_written = self.connection.output().is_empty();
                    self.writing = if is_written { Writing::Whole } else { Writing::Cut };
                }
                Err(error)
                    if are_too_many(&error)
                        && let Some(unsent) = self.connection.remove_unsent() =>
                {
                    let error = FrameClientError::DescriptorsNotSent(Arc::new(error));
                    self.deliveries.push(Delivery::Response(unsent, Err(error)));
                    self.deliver();
                }
                Err(error) => match stream_error(error) {
                    FrameClientError::Closed => self.end_writing(),
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Ends writing, and takes back the requests of which the daemon has received nothing. The one of which it has a part fails, and
    /// so do all if another connection takes requests by now.
    fn end_writing(&mut self) {
        let unwritten: Vec<_> = self.connection.unwritten_requests().collect();
        let (mut failed, mut cut) = (0, 0);
        match std::mem::replace(&mut self.writing, Writing::Closed) {
            Writing::Closed => return,
            Writing::Whole => {}
            Writing::Cut => {
                let Some((_, left)) = unwritten.first() else { return };
                (failed, cut) = (1, *left);
            }
        }
        let is_former = self.end.former.is_some();
        if is_former {
            failed = unwritten.len();
        }
        for (id, _) in &unwritten[..failed] {
            self.deliveries.push(Delivery::Response(*id, Err(FrameClientError::NotReceived)));
        }
        self.deliver();
        if is_former {
            return;
        }
        let mut output = Vec::with_capacity(self.connection.unwritten());
        while !self.connection.output().is_empty() {
            let first = self.connection.output();
            output.extend_from_slice(first);
            let length = first.len();
            self.connection.output_written(length);
        }
        self.end.queue.take_back(&output[cut..]);
    }

    /// Reads once and dispatches the frames. Returns the number of bytes.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, FrameClientError>> {
        let read = if self.connection.takes_descriptors() {
            let (buffer, mut incoming) = (self.connection.receive_buffer(), Incoming::default());
            let read = ready!(poll_read_onto_with(&mut self.stream, context, buffer, &mut incoming));
            self.descriptors.received(*read.as_ref().unwrap_or(&0), incoming, &mut self.connection);
            read
        } else {
            ready!(poll_read_onto(&mut self.stream, context, self.connection.receive_buffer()))
        };
        let read = read.map_err(stream_error)?;
        if read == 0 {
            self.connection.receive_eof()?;
            return Poll::Ready(Err(FrameClientError::Closed));
        }
        Poll::Ready(self.dispatch().map(|()| read))
    }

    /// Reads all that has arrived, although the runtime may not have noticed it, and dispatches the frames.
    fn read_arrived(&mut self) -> Result<(), FrameClientError> {
        let mut late = LateReads::default();
        // End of stream and errors are left to `read`.
        while !self.undispatched
            && let Some(Ok(1..)) = late.read(|| self.read_arrived_once())
        {
            self.dispatch()?;
        }
        Ok(())
    }

    fn read_arrived_once(&mut self) -> io::Result<usize> {
        if !self.connection.takes_descriptors() {
            return read_arrived_onto(&self.stream, self.connection.receive_buffer());
        }
        let mut incoming = Incoming::default();
        let read = read_arrived_onto_with(&self.stream, self.connection.receive_buffer(), &mut incoming);
        self.descriptors.received(*read.as_ref().unwrap_or(&0), incoming, &mut self.connection);
        read
    }

    /// Delivers the frames that were read, while there is room for events.
    fn dispatch(&mut self) -> Result<(), FrameClientError> {
        let dispatched = self.dispatch_while_room();
        self.deliver();
        dispatched
    }

    fn dispatch_while_room(&mut self) -> Result<(), FrameClientError> {
        self.undispatched = true;
        while let Some(event) = self.descriptors.next_event(&mut self.connection)? {
            let (delivery, event_memory) = match event {
                ClientEvent::Response(id, _) | ClientEvent::Refused(id, _) if self.question == Some(id) => {
                    self.question = None;
                    continue;
                }
                ClientEvent::Response(id, frame) => (Delivery::Response(id, Ok(frame)), 0),
                ClientEvent::Refused(id, refusal) => {
                    (Delivery::Response(id, Err(FrameClientError::Refused(refusal))), 0)
                }
                ClientEvent::Moved => {
                    self.note_move();
                    continue;
                }
                ClientEvent::RequestEvent(id, frame) => {
                    let memory = frame.memory();
                    (Delivery::Event(id, frame), memory)
                }
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => {
                    let memory = frame.memory();
                    (Delivery::Unsolicited(frame), memory)
                }
            };
            self.deliveries.push(delivery);
            self.event_room = self.event_room.saturating_sub(event_memory);
            if self.event_room == 0 || self.deliveries.len() >= MAX_BATCH {
                self.deliver();
            }
            if self.event_room == 0 {
                return Ok(());
            }
        }
        self.undispatched = false;
        Ok(())
    }

    /// Notes that the daemon has said that another process serves the endpoint.
    fn note_move(&mut self) {
        match self.on_move {
            OnMove::Stay => self.end.queue.set_moved(),
            OnMove::End => {
                self.end.queue.set_moved();
                self.moved = true;
            }
            OnMove::Connect(_) => self.moved = true,
        }
    }

    /// Returns whether a connection whose daemon has moved is not needed any more.
    fn ends_moved(&self) -> bool {
        match self.on_move {
            _ if self.end.former.is_some() => self.is_idle(),
            OnMove::End => self.is_idle() && self.end.queue.end_moved(),
            // The process could not be reached yet, and this one still serves.
            OnMove::Stay | OnMove::Connect(_) => false,
        }
    }

    /// Connects to the process that serves the endpoint by now, if the client follows. Returns the driver of the former connection,
    /// which keeps the requests that it has taken.
    fn follow(&mut self) -> Option<Self> {
        if !self.moved || self.end.former.is_some() {
            return None;
        }
        let OnMove::Connect(path) = &self.on_move else { return None };
        let stream = connect_async(path).ok()?;
        let next = Self::new(stream, Arc::clone(&self.end.queue), self.on_move.clone());
        let mut former = std::mem::replace(self, next);
        let (name, passes_descriptors) = self.end.queue.leave();
        former.end.former = Some(name);
        if passes_descriptors {
            self.ask_for_descriptors();
        }
        Some(former)
    }

    /// Asks the daemon how many descriptors it takes: the callers have asked its predecessor. The question has the first id of the
    /// connection, which the queue gives to no request.
    fn ask_for_descriptors(&mut self) {
        let head = RequestOptions::new().of_reply();
        // Without an answer a request with descriptors fails, and its caller is told that it was not sent.
        self.question = probe().ok().and_then(|nonce| {
            self.connection.send_payload(DESCRIPTOR_PROBE, nonce, &head.head(0, false)).ok()
        });
    }

    /// Returns whether the daemon owes no answer, and nothing waits to be written or delivered.
    fn is_idle(&self) -> bool {
        !self.connection.has_pending() && self.connection.unwritten() == 0 && !self.undispatched
    }

    fn deliver(&mut self) {
        let most = self.connection.daemon_descriptors();
        if most != self.told_descriptors {
            self.told_descriptors = most;
            self.end.queue.set_daemon_descriptors(self.end.former, most);
        }
        if !self.deliveries.is_empty() {
            self.event_room = self.end.queue.deliver(&mut self.deliveries, &mut self.wakers);
        }
    }
}
