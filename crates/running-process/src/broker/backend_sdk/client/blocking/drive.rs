//! Steps that the calls of a client share: writing, reading, sorting what came, and giving a request up.

use super::FrameClient;
use super::limit::Limit;
use crate::broker::backend_sdk::client::error::{FrameClientError, stream_error};
use crate::broker::backend_sdk::proto::client_connection::{ClientEvent, RequestId};
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::proto::send_buffer::MAX_IOVECS;
use crate::broker::protocol::Frame;
use std::io::{self, IoSlice};
use std::time::Instant;

impl FrameClient {
    /// Returns until when a call waits that begins now, for a request with a deadline of its `own`.
    pub(super) fn limit(&self, own: Option<Instant>) -> Limit {
        if self.timeout.is_none() && own.is_none() {
            return Limit::NONE;
        }
        let now = Instant::now();
        Limit::new(earliest(self.timeout.and_then(|timeout| now.checked_add(timeout)), own), now)
    }

    pub(super) fn answer(&mut self, request: RequestId, limit: Limit) -> Result<Frame, FrameClientError> {
        loop {
            if let Some(answer) = self.waiting.take_answer(request) {
                self.forget_deadline(request);
                return answer.map_err(|refusal| limit.judge(refusal));
            }
            self.advance(request, limit)?;
        }
    }

    /// Writes what is to be written and reads once, for an answer that has not come.
    pub(super) fn advance(&mut self, request: RequestId, limit: Limit) -> Result<(), FrameClientError> {
        self.check_usable()?;
        if !self.connection.is_pending(request) {
            return Err(FrameClientError::NotInFlight);
        }
        self.flush_until(limit)?;
        self.read_more(limit).inspect_err(|error| {
            if matches!(error, FrameClientError::TimedOut { .. }) {
                self.give_up(request);
            }
        })
    }

    pub(super) fn flush_until(&mut self, limit: Limit) -> Result<(), FrameClientError> {
        while !self.connection.output().is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
            let count = self.connection.output_slices(&mut slices);
            let Some(stream) = &self.stream else { return Err(FrameClientError::Dead) };
            match stream.write_unless_readable(&slices[..count], || limit.at).map_err(stream_error) {
                Ok(Some(written)) => self.connection.output_written(written),
                Ok(None) => self.read_more(limit)?,
                // Answers that the daemon sent before it closed are still to be read, up to the end of stream.
                Err(FrameClientError::Closed) => loop {
                    match self.read_more(limit) {
                        Ok(()) => {}
                        Err(
                            FrameClientError::TimedOut { .. }
                            | FrameClientError::TooManyEvents { .. }
                            | FrameClientError::TooManyAnswers { .. },
                        ) => return Err(self.end(FrameClientError::Closed)),
                        Err(error) => return Err(error),
                    }
                },
                Err(error) => return Err(self.end(error)),
            }
        }
        Ok(())
    }

    pub(super) fn give_up(&mut self, request: RequestId) {
        self.forget_deadline(request);
        if self.streaming == Some(request) {
            self.streaming = None;
            self.waiting.streamed.clear();
        }
        let Some(stream) = &self.stream else { return };
        if !self.connection.is_pending(request) {
            return;
        }
        self.connection.cancel(request);
        while !self.connection.output().is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
            let count = self.connection.output_slices(&mut slices);
            match stream.write_now(&slices[..count]) {
                Ok(Some(written)) => self.connection.output_written(written),
                // The next call finds out what is wrong.
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Ends the stream of `request`, which gives it up if its answer was not taken.
    pub(super) fn end_streaming(&mut self, request: RequestId) {
        if self.streaming == Some(request) {
            self.cancel(request);
        }
    }

    pub(super) fn forget_deadline(&mut self, request: RequestId) {
        if !self.deadlines.is_empty() {
            self.deadlines.remove(&request);
        }
    }

    pub(super) fn check_usable(&self) -> Result<(), FrameClientError> {
        if self.is_usable() { Ok(()) } else { Err(FrameClientError::Dead) }
    }

    /// The connection is of no further use: the daemon learns it now, not once this value is dropped.
    fn end(&mut self, error: FrameClientError) -> FrameClientError {
        if let Some(stream) = self.stream.take() {
            stream.disconnect();
        }
        error
    }

    /// Reads once and sorts what came, or sorts what is left of what came before.
    pub(super) fn read_more(&mut self, limit: Limit) -> Result<(), FrameClientError> {
        if self.unsorted {
            self.waiting.check_room()?;
            return self.sort_events().map_err(|error| self.end(error));
        }
        let Some(stream) = &self.stream else { return Err(FrameClientError::Dead) };
        let buffer = self.connection.receive_buffer();
        let read = stream.read_onto(buffer, limit.at);
        match self.late.or(read, || stream.read_arrived_onto(buffer)) {
            Ok(0) => {
                let error = match self.connection.receive_eof() {
                    Ok(()) => FrameClientError::Closed,
                    Err(truncated) => truncated.into(),
                };
                return Err(self.end(error));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(FrameClientError::TimedOut { timeout: limit.timeout });
            }
            Err(error) => return Err(self.end(stream_error(error))),
        }
        self.sort_events().map_err(|error| self.end(error))
    }

    /// Sorts what was read while there is room for it.
    fn sort_events(&mut self) -> Result<(), FrameClientError> {
        self.unsorted = true;
        while let Some(event) = self.connection.next_owned_event()? {
            match event {
                ClientEvent::Response(request, frame) => self.waiting.add_answer(request, Ok(frame)),
                ClientEvent::Refused(request, refusal) => self.waiting.add_answer(request, Err(refusal)),
                // The one request whose events are wanted.
                ClientEvent::RequestEvent(_, frame) => self.waiting.streamed.add(frame),
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => self.waiting.events.add(frame),
            }
            if self.waiting.check_room().is_err() {
                return Ok(());
            }
        }
        self.unsorted = false;
        Ok(())
    }
}
