//! The task that owns the socket and the state machine.

#[cfg(all(test, shuttle))]
pub(super) mod model;

use super::super::client_connection::{ById, ClientConnection, ClientEvent, RequestId};
use super::super::frame_client::{ENOUGH_OUTPUT, FrameClientError, stream_error};
use super::super::output::PIECES;
use super::sync::mpsc::error::TrySendError;
use super::sync::{AsyncStream, mpsc, oneshot, poll_read_onto, poll_write};
use super::{Answer, NotSent, Shared, Ticket, Waiting};
use crate::broker::protocol::Frame;
use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// A request that the daemon was sent.
struct Sent {
    ticket: Ticket,
    answer: oneshot::Sender<Answer>,
}

pub(super) struct Driver {
    stream: AsyncStream,
    connection: ClientConnection,
    // Before what callers wait on, so that who is told of the end finds the client unusable. And before the requests, so
    // that it is open for as long as somebody takes them.
    given_up: mpsc::UnboundedReceiver<Ticket>,
    requests: mpsc::Receiver<Waiting>,
    in_flight: ById<RequestId, Sent>,
    ids: ById<Ticket, RequestId>,
    events: mpsc::Sender<Frame>,
    /// The daemon takes nothing more; what it said before is still to be read.
    write_closed: bool,
    shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn new(
        stream: AsyncStream,
        requests: mpsc::Receiver<Waiting>,
        given_up: mpsc::UnboundedReceiver<Ticket>,
        events: mpsc::Sender<Frame>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            stream,
            connection: ClientConnection::new(),
            requests,
            given_up,
            in_flight: ById::default(),
            ids: ById::default(),
            events,
            write_closed: false,
            shared,
        }
    }

    /// Ends with the connection, or when the last client is gone. Whoever still waits then finds the reason in `shared`.
    pub(super) async fn run(mut self) {
        if let Err(error) = poll_fn(|context| self.turn(context)).await {
            self.end(error).await;
        }
    }

    /// Tells whoever waits of the `error` that ended the connection. Nothing was sent of what was not taken yet.
    async fn end(mut self, error: FrameClientError) {
        let _ = self.shared.end.set(error);
        self.requests.close();
        // What is declared last goes first, here too.
        let Self { mut requests, given_up: _given_up, shared, stream, in_flight, events, .. } = self;
        drop((stream, in_flight, events));
        // Who was given a place may take a while to send its request, and is all that waits for it then.
        while let Some(Waiting { payload, answer, .. }) = requests.recv().await {
            shared.told.store(true, Ordering::Relaxed);
            // A caller that is gone does not want to know.
            let _ = answer.send(Err(NotSent { payload, error: shared.end() }));
        }
    }

    /// Does what can be done now. Where nothing can, the task will be woken.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FrameClientError>> {
        loop {
            while let Poll::Ready(ticket) = self.given_up.poll_recv(context) {
                // Every client holds the other end, so this also tells of the last one while no requests are taken.
                let Some(ticket) = ticket else { return Poll::Ready(Ok(())) };
                if let Some(request) = self.ids.remove(&ticket) {
                    self.in_flight.remove(&request);
                    self.connection.cancel(request);
                }
            }
            let enough = self.take_requests(context);
            self.write(context)?;
            if enough && self.connection.unwritten() < ENOUGH_OUTPUT {
                continue;
            }
            ready!(self.read(context))?;
        }
    }

    /// Takes requests until there are none or the output is enough, which is `true`.
    fn take_requests(&mut self, context: &mut Context<'_>) -> bool {
        while self.connection.unwritten() < ENOUGH_OUTPUT {
            let Poll::Ready(Some(waiting)) = self.requests.poll_recv(context) else { return false };
            self.send(waiting);
        }
        true
    }

    fn send(&mut self, Waiting { payload_protocol, payload, deadline_unix_ms, ticket, answer }: Waiting) {
        if answer.is_closed() {
            return;
        }
        self.connection.set_encoding_policy(self.shared.encodings());
        match self.connection.send_request_before(payload_protocol, payload, deadline_unix_ms) {
            Ok(request) => {
                self.ids.insert(ticket, request);
                self.in_flight.insert(request, Sent { ticket, answer });
            }
            // A caller that is gone does not want to know.
            Err(error) => drop(answer.send(Ok(Err(FrameClientError::Request(error))))),
        }
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
        Poll::Ready(self.sort_events())
    }

    fn sort_events(&mut self) -> Result<(), FrameClientError> {
        self.connection.set_encoding_policy(self.shared.encodings());
        while let Some(event) = self.connection.next_owned_event()? {
            match event {
                ClientEvent::Response(request, frame) => {
                    self.answer(request, Ok(frame));
                }
                ClientEvent::Refused(request, refusal) => {
                    self.answer(request, Err(FrameClientError::Refused(refusal)));
                }
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => {
                    if let Err(TrySendError::Full(_)) = self.events.try_send(frame) {
                        return Err(FrameClientError::TooManyEvents);
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: RequestId, response: Result<Frame, FrameClientError>) {
        if let Some(Sent { ticket, answer }) = self.in_flight.remove(&request) {
            self.ids.remove(&ticket);
            // A caller that has just given up does not want it.
            let _ = answer.send(Ok(response));
        }
    }
}
