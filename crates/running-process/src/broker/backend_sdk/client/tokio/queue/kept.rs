//! Events that were asked for and wait to be taken, within one bound for a connection.

use super::{Caller, Desk, NotSent, Request, Response, State, Ticket, ring};
use crate::broker::backend_sdk::client::blocking::{MAX_WAITING_EVENT_BYTES, kept_bytes};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::protocol::Frame;
use std::collections::VecDeque;
use std::task::{Poll, Waker};

/// The events that are kept for one connection.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Of all events, in bytes.
    bytes: usize,
    interest: Interest,
    /// The events of no request.
    unsolicited: VecDeque<Frame>,
    waker: Option<Waker>,
}

/// The caller's interest in the events of no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Interest {
    /// Until the first request they are kept: the caller had no time to ask for them.
    #[default]
    Undecided,
    Wanted,
    Unwanted,
}

/// A caller that reads the events of its request.
#[derive(Debug, Default)]
pub(super) struct Stream {
    events: VecDeque<Frame>,
    answer: Option<Response>,
    waker: Option<Waker>,
}

/// The next item of a request that is streamed.
pub(in super::super) enum Streamed {
    Event(Frame),
    /// After it there is nothing more.
    Answer(Response),
}

impl Kept {
    pub(super) fn wants_unsolicited(&self) -> bool {
        self.interest != Interest::Unwanted
    }

    /// Returns the number of bytes of events that may come before nothing more is read.
    pub(super) fn room(&self) -> usize {
        MAX_WAITING_EVENT_BYTES.saturating_sub(self.bytes)
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Keeps an event of no request, if it is wanted; returns the waker to call.
    pub(super) fn add(&mut self, frame: Frame) -> Option<Waker> {
        if !self.wants_unsolicited() {
            return None;
        }
        self.bytes += kept_bytes(&frame);
        self.unsolicited.push_back(frame);
        self.waker.take()
    }

    pub(super) fn add_to(&mut self, stream: &mut Stream, frame: Frame) -> Option<Waker> {
        self.bytes += kept_bytes(&frame);
        stream.events.push_back(frame);
        stream.waker.take()
    }

    /// Drops what is kept of `stream`. Returns whether its answer had come.
    pub(super) fn forget(&mut self, stream: &Stream) -> bool {
        self.bytes -= stream.events.iter().map(kept_bytes).sum::<usize>();
        stream.answer.is_some()
    }

    fn set(&mut self, interest: Interest) {
        self.interest = interest;
        if interest == Interest::Unwanted {
            self.bytes -= self.unsolicited.drain(..).map(|frame| kept_bytes(&frame)).sum::<usize>();
            self.unsolicited = VecDeque::new();
        }
    }

    /// Begins a request: a caller that wants other events has asked for them by now.
    pub(super) fn begin(&mut self) {
        if self.interest == Interest::Undecided {
            self.set(Interest::Unwanted);
        }
    }
}

impl Stream {
    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    pub(super) fn answer(&mut self, response: Response) -> Option<Waker> {
        self.answer = Some(response);
        self.waker.take()
    }
}

impl Desk {
    /// Begins a request whose events are wanted.
    pub(in super::super) fn stream(&self, request: Request) -> Result<Ticket, NotSent> {
        let mut state = self.state();
        let ticket = state.ask(request, Waker::noop())?;
        ring(state);
        Ok(ticket)
    }

    /// Polls for the next event of the request of `ticket`, or for its answer, which ends it.
    pub(in super::super) fn poll_streamed(
        &self,
        ticket: Ticket,
        waker: &Waker,
    ) -> Poll<Result<Streamed, FrameClientError>> {
        let mut state = self.state();
        let State { callers, kept, end, .. } = &mut *state;
        let Some(Caller::Streams(stream)) = callers.get_mut(&ticket) else {
            return Poll::Ready(Err(FrameClientError::NotInFlight));
        };
        if let Some(event) = stream.events.pop_front() {
            let was_full = kept.room() == 0;
            kept.bytes -= kept_bytes(&event);
            if was_full && kept.room() > 0 {
                ring(state);
            }
            return Poll::Ready(Ok(Streamed::Event(event)));
        }
        let came = match (stream.answer.take(), end) {
            (Some(response), _) => Ok(Streamed::Answer(response)),
            (None, Some(end)) => Err(end.tell()),
            (None, None) => {
                stream.waker = Some(waker.clone());
                return Poll::Pending;
            }
        };
        callers.remove(&ticket);
        state.take_back(ticket);
        state.shrink();
        Poll::Ready(came)
    }

    /// Ends the request of `ticket`, whose events are read no more.
    pub(in super::super) fn end_stream(&self, ticket: Ticket) {
        let mut state = self.state();
        let was_full = state.kept.room() == 0;
        let given_up = state.give_up(ticket);
        if given_up || was_full && state.kept.room() > 0 {
            ring(state);
        }
    }

    /// Claims the events of no request for the caller. Returns `false` if another caller has them.
    pub(in super::super) fn claim_events(&self) -> bool {
        let mut state = self.state();
        let claimed = state.kept.interest != Interest::Wanted;
        state.kept.set(Interest::Wanted);
        claimed
    }

    /// Drops the events of no request, and keeps no further ones.
    pub(in super::super) fn drop_events(&self) {
        let mut state = self.state();
        let was_full = state.kept.room() == 0;
        state.kept.set(Interest::Unwanted);
        if was_full && state.kept.room() > 0 {
            ring(state);
        }
    }

    /// The next event of no request, or why there will be none.
    pub(in super::super) fn poll_event(&self, waker: &Waker) -> Poll<Result<Frame, FrameClientError>> {
        let mut state = self.state();
        let State { kept, end, .. } = &mut *state;
        let Some(event) = kept.unsolicited.pop_front() else {
            return match end {
                Some(end) => Poll::Ready(Err(end.reason.clone())),
                None => {
                    kept.waker = Some(waker.clone());
                    Poll::Pending
                }
            };
        };
        let was_full = kept.room() == 0;
        kept.bytes -= kept_bytes(&event);
        if was_full && kept.room() > 0 {
            ring(state);
        }
        Poll::Ready(Ok(event))
    }
}
