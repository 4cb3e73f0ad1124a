//! Steps that the calls of a client share: writing, reading, dispatching frames, and cancelling a request.

use super::FrameClient;
use super::inbox::Response;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::error::{FrameClientError, stream_error};
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::proto::client_connection::{ClientEvent, RequestId};
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::proto::send_buffer::MAX_IOVECS;
use crate::broker::protocol::MAX_FRAME_BYTES;
use crate::descriptor::are_too_many;
use crate::transport::Incoming;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

/// The most bytes that are read without waiting, so that a daemon that goes on writing does not keep the caller: one frame, which is more
/// than a socket has room for.
const MAX_ARRIVED_BYTES: usize = MAX_FRAME_BYTES;

/// True if a write that is given up has written nothing. A Windows pipe may have taken a part of it.
const KEEPS_UNWRITTEN: bool = cfg!(unix);

impl FrameClient {
    /// Returns the deadline of a call that begins now: the client's timeout, or `own` if that is earlier.
    pub(super) fn call_deadline(&self, own: Option<Instant>) -> CallDeadline {
        if self.timeout.is_none() && own.is_none() {
            return CallDeadline::NONE;
        }
        let now = Instant::now();
        let at = earliest(self.timeout.and_then(|timeout| now.checked_add(timeout)), own);
        CallDeadline::new(at, || now)
    }

    #[inline]
    pub(super) fn wait_until(
        &mut self,
        request: RequestId,
        deadline: CallDeadline,
    ) -> Result<Reply, FrameClientError> {
        loop {
            if let Some(response) = self.take_response(request)? {
                self.forget_deadline(request);
                return response.map_err(|error| deadline.timed_out_if_refused(error, Instant::now));
            }
            if let Err(error) = self.advance(request, deadline) {
                // Prefer what came before the end of the connection, or that the daemon has not received the request.
                return self.inbox.take_response(request).unwrap_or(Err(error));
            }
        }
    }

    /// Gives `request` up because of `error`. Returns the error that says whether it may have run.
    #[cold]
    pub(super) fn give_up(&mut self, request: RequestId, error: FrameClientError) -> FrameClientError {
        self.cancel_if_pending(request);
        self.inbox.take_response(request).and_then(Result::err).unwrap_or(error)
    }

    /// Takes the response to `request` from the inbox or from the received bytes, if it has come.
    fn take_response(&mut self, request: RequestId) -> Result<Option<Response>, FrameClientError> {
        match self.inbox.take_response(request) {
            None if self.undispatched => self.dispatch_until(Some(request)),
            response => Ok(response),
        }
    }

    /// Writes the output and reads once, for a response that has not come. The frames are not dispatched.
    pub(super) fn advance(
        &mut self,
        request: RequestId,
        deadline: CallDeadline,
    ) -> Result<(), FrameClientError> {
        if !self.connection.is_pending(request) {
            return Err(FrameClientError::NotInFlight);
        }
        if let Some(reason) = &self.end {
            return Err(reason.clone());
        }
        let advanced = match self.flush_unless(deadline, |client| client.has_come(request)) {
            Ok(true) => return Ok(()),
            Ok(false) => self.receive(deadline),
            Err(error) => Err(error),
        };
        advanced.inspect_err(|error| {
            if matches!(error, FrameClientError::TimedOut { .. }) {
                self.cancel_if_pending(request);
            }
        })
    }

    /// Returns whether the inbox has the response to `request`, or an event of it.
    pub(super) fn has_come(&self, request: RequestId) -> bool {
        self.inbox.has_response(request)
            || (self.streaming == Some(request) && !self.inbox.streamed.is_empty())
    }

    /// Writes the output. What is left when the deadline passes is written by the next call.
    pub(super) fn flush_until(&mut self, deadline: CallDeadline) -> Result<(), FrameClientError> {
        self.flush_unless(deadline, |_| false).map(drop)
    }

    /// Writes the output, as [`flush_until`](Self::flush_until) does, unless `has_come` holds after a frame was read meanwhile. Returns
    /// `true` then, and if a request has failed because the system does not send its descriptors.
    pub(super) fn flush_unless(
        &mut self,
        deadline: CallDeadline,
        has_come: impl Fn(&Self) -> bool,
    ) -> Result<bool, FrameClientError> {
        let mut has_failed = false;
        while !self.connection.output().is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
            let count = self.connection.output_slices(&mut slices);
            let Some(stream) = &self.stream else { return Err(FrameClientError::Dead) };
            let descriptors = self.connection.output_descriptors();
            let written = stream.write_unless_readable_with(&slices[..count], descriptors, || deadline.at);
            match written {
                Ok(Some(written)) => self.connection.output_written(written),
                Ok(None) => {
                    self.read_more(deadline)?;
                    if has_come(self) {
                        return Ok(true);
                    }
                }
                Err(error)
                    if are_too_many(&error)
                        && let Some(unsent) = self.connection.remove_unsent() =>
                {
                    let error = FrameClientError::DescriptorsNotSent(Arc::new(error));
                    self.inbox.add_response(unsent, Err(error));
                    has_failed = true;
                }
                Err(error) if KEEPS_UNWRITTEN && error.kind() == io::ErrorKind::TimedOut => {
                    return Err(deadline.timed_out());
                }
                Err(error) => match stream_error(error) {
                    FrameClientError::Closed => return Err(self.read_to_end(deadline)),
                    error => return Err(self.end(error)),
                },
            }
        }
        Ok(has_failed)
    }

    /// Reads the responses that the daemon sent before it closed, and ends the connection.
    fn read_to_end(&mut self, deadline: CallDeadline) -> FrameClientError {
        loop {
            match self.read_more(deadline) {
                Ok(()) => {}
                Err(
                    FrameClientError::TimedOut { .. }
                    | FrameClientError::TooManyEvents { .. }
                    | FrameClientError::TooManyResponses { .. },
                ) => return self.end(FrameClientError::Closed),
                Err(error) => return error,
            }
        }
    }

    /// Cancels `request` if it is in flight, and writes as much as the socket takes at once.
    pub(super) fn cancel_if_pending(&mut self, request: RequestId) {
        self.forget_deadline(request);
        if self.streaming == Some(request) {
            self.streaming = None;
            self.inbox.streamed.clear();
        }
        let Some(stream) = &self.stream else { return };
        if !self.connection.is_pending(request) {
            return;
        }
        self.connection.cancel(request);
        while !self.connection.output().is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
            let count = self.connection.output_slices(&mut slices);
            match stream.write_now_with(&slices[..count], self.connection.output_descriptors()) {
                Ok(Some(written)) => self.connection.output_written(written),
                // The next call meets the error again.
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Ends the stream of `request`, and cancels the request if its response was not taken.
    pub(super) fn end_streaming(&mut self, request: RequestId) {
        if self.streaming == Some(request) {
            self.cancel(request);
        }
    }

    fn forget_deadline(&mut self, request: RequestId) {
        if !self.deadlines.is_empty() {
            self.deadlines.remove(&request);
        }
    }

    pub(super) fn check_usable(&self) -> Result<(), FrameClientError> {
        if self.is_usable() { Ok(()) } else { Err(FrameClientError::Dead) }
    }

    /// Closes the connection now, so that the daemon does not wait until this value is dropped. Frames that have come are kept.
    #[cold]
    fn end(&mut self, error: FrameClientError) -> FrameClientError {
        if let Some(stream) = self.stream.take() {
            stream.disconnect();
            if self.undispatched {
                // A fault behind them ends nothing any more.
                drop(self.dispatch());
                self.fault = None;
            }
            if matches!(error, FrameClientError::Closed) {
                for (request, _) in self.connection.unwritten_requests() {
                    self.inbox.add_response(request, Err(FrameClientError::NotReceived));
                }
            }
            self.end = Some(error.clone());
        }
        self.descriptors.clear();
        error
    }

    /// Reads once and dispatches the frames. If some were left before, dispatches those instead.
    pub(super) fn read_more(&mut self, deadline: CallDeadline) -> Result<(), FrameClientError> {
        self.receive(deadline)?;
        self.dispatch()
    }

    /// Reads once, unless frames were left before.
    fn receive(&mut self, deadline: CallDeadline) -> Result<(), FrameClientError> {
        if let Some(fault) = self.fault.take() {
            return Err(self.end(fault));
        }
        if self.undispatched {
            return self.inbox.check_room();
        }
        let Some(stream) = &self.stream else { return Err(FrameClientError::Dead) };
        if self.connection.takes_descriptors() {
            return self.receive_with(deadline);
        }
        let buffer = self.connection.receive_buffer();
        let read = stream.read_onto(buffer, deadline.at);
        let read = self.late.or(read, || stream.read_arrived_onto(buffer));
        self.received(read, deadline)
    }

    /// Reads as [`receive`](Self::receive) does, and takes the descriptors that come along.
    fn receive_with(&mut self, deadline: CallDeadline) -> Result<(), FrameClientError> {
        let Some(stream) = &self.stream else { return Err(FrameClientError::Dead) };
        let mut incoming = Incoming::default();
        let buffer = self.connection.receive_buffer();
        let read = stream.read_onto_with(buffer, deadline.at, &mut incoming);
        let read = self.late.or(read, || stream.read_arrived_onto_with(buffer, &mut incoming));
        self.descriptors.received(*read.as_ref().unwrap_or(&0), incoming, &mut self.connection);
        self.received(read, deadline)
    }

    fn received(&mut self, read: io::Result<usize>, deadline: CallDeadline) -> Result<(), FrameClientError> {
        match read {
            Ok(0) => {
                let error = match self.connection.receive_eof() {
                    Ok(()) => FrameClientError::Closed,
                    Err(truncated) => truncated.into(),
                };
                Err(self.end(error))
            }
            Ok(_) => {
                self.undispatched = true;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(deadline.timed_out()),
            Err(error) => Err(self.end(stream_error(error))),
        }
    }

    /// Reads what has arrived, without waiting, and dispatches the frames, until the daemon has said that it has moved. One read returns
    /// less than has arrived: it ends where a large payload begins, and behind a message with descriptors.
    pub(super) fn read_arrived(&mut self) {
        let mut bytes = 0;
        while !self.moved
            && bytes < MAX_ARRIVED_BYTES
            && self.fault.is_none()
            && self.inbox.check_room().is_ok()
        {
            if !self.undispatched {
                match self.read_now() {
                    Some(Ok(read @ 1..)) => {
                        bytes += read;
                        self.undispatched = true;
                    }
                    // The next call meets an error or the end again.
                    _ => return,
                }
            }
            if self.dispatch().is_err() {
                return;
            }
        }
    }

    /// Reads once without waiting; `None` if the connection has ended.
    fn read_now(&mut self) -> Option<io::Result<usize>> {
        let stream = self.stream.as_ref()?;
        if !self.connection.takes_descriptors() {
            return Some(stream.read_arrived_onto(self.connection.receive_buffer()));
        }
        let mut incoming = Incoming::default();
        let read = stream.read_arrived_onto_with(self.connection.receive_buffer(), &mut incoming);
        self.descriptors.received(*read.as_ref().unwrap_or(&0), incoming, &mut self.connection);
        Some(read)
    }

    /// Moves all frames to the inbox, while there is room.
    pub(super) fn dispatch(&mut self) -> Result<(), FrameClientError> {
        self.dispatch_until(None).map(drop)
    }

    /// Moves frames to the inbox while there is room, up to the response to `awaited`, which is returned: what is behind it stays in
    /// the connection. A fault behind frames that were moved is left for the next [`receive`](Self::receive): the caller gets these
    /// frames first, however the bytes were cut into reads.
    fn dispatch_until(&mut self, awaited: Option<RequestId>) -> Result<Option<Response>, FrameClientError> {
        let mut has_moved_some = false;
        while self.inbox.check_room().is_ok() {
            let event = match self.descriptors.next_event(&mut self.connection) {
                Ok(Some(event)) => event,
                end => {
                    self.undispatched = false;
                    return match end {
                        Err(fault) if has_moved_some => {
                            self.fault = Some(fault.into());
                            Ok(None)
                        }
                        Err(fault) => Err(self.end(fault.into())),
                        Ok(_) => Ok(None),
                    };
                }
            };
            has_moved_some = true;
            let (request, response) = match event {
                ClientEvent::Response(request, reply) => (request, Ok(reply)),
                ClientEvent::Refused(request, refusal) => (request, Err(FrameClientError::Refused(refusal))),
                ClientEvent::Moved => {
                    self.moved = true;
                    continue;
                }
                // Only one request at a time is streamed.
                ClientEvent::RequestEvent(_, frame) => {
                    self.inbox.streamed.add(frame);
                    continue;
                }
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => {
                    self.inbox.events.add(frame);
                    continue;
                }
            };
            if awaited == Some(request) {
                self.undispatched = self.connection.holds_input();
                return Ok(Some(response));
            }
            self.inbox.add_response(request, response);
        }
        Ok(None)
    }
}
