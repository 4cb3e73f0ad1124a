//! Events that wait for their callers, within one bound for a connection.

use super::request::Response;
use crate::broker::backend_sdk::client::limits::MAX_WAITING_EVENT_BYTES;
use crate::broker::backend_sdk::client::reply::Reply;
use std::collections::VecDeque;
use std::task::Waker;

/// The events of one connection that wait, and the bound on them.
#[derive(Debug, Default)]
pub(super) struct EventBuffer {
    /// The memory of all events that wait, those of streams included.
    bytes: usize,
    subscription: Subscription,
    /// The events of no request.
    unsolicited: VecDeque<Reply>,
    waker: Option<Waker>,
}

/// The caller's interest in the events of no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Subscription {
    /// Events are kept until the first request, because the caller had no time to ask for them.
    #[default]
    Undecided,
    Active,
    Off,
}

/// The events of one request that wait, and its response.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    events: VecDeque<Reply>,
    response: Option<Response>,
    waker: Option<Waker>,
}

impl EventBuffer {
    pub(super) fn wants_unsolicited(&self) -> bool {
        self.subscription != Subscription::Off
    }

    /// Returns the number of bytes of events for which there is room.
    pub(super) fn room(&self) -> usize {
        MAX_WAITING_EVENT_BYTES.saturating_sub(self.bytes)
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Keeps an event of no request, if it is wanted. Returns the waker to call.
    pub(super) fn add(&mut self, frame: Reply) -> Option<Waker> {
        if !self.wants_unsolicited() {
            return None;
        }
        self.bytes += frame.memory();
        self.unsolicited.push_back(frame);
        self.waker.take()
    }

    /// Keeps an event of a request. Returns the waker to call.
    pub(super) fn add_to(&mut self, stream: &mut StreamState, frame: Reply) -> Option<Waker> {
        self.bytes += frame.memory();
        stream.events.push_back(frame);
        stream.waker.take()
    }

    /// Drops the events of `stream`. Returns whether its response had come.
    pub(super) fn forget(&mut self, stream: &StreamState) -> bool {
        self.bytes -= stream.events.iter().map(Reply::memory).sum::<usize>();
        stream.response.is_some()
    }

    /// Takes the next event of no request.
    pub(super) fn take(&mut self) -> Option<Reply> {
        let event = self.unsolicited.pop_front()?;
        self.bytes -= event.memory();
        Some(event)
    }

    /// Takes the next event of a request.
    pub(super) fn take_from(&mut self, stream: &mut StreamState) -> Option<Reply> {
        let event = stream.events.pop_front()?;
        self.bytes -= event.memory();
        Some(event)
    }

    /// Registers the caller that waits for the next event of no request.
    pub(super) fn register(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    /// Keeps events of no request for the caller from now on. Returns `false` if a caller has them already.
    pub(super) fn subscribe(&mut self) -> bool {
        std::mem::replace(&mut self.subscription, Subscription::Active) != Subscription::Active
    }

    /// Drops the events of no request, and keeps no further ones.
    pub(super) fn unsubscribe(&mut self) {
        self.subscription = Subscription::Off;
        self.bytes -= self.unsolicited.drain(..).map(|frame| frame.memory()).sum::<usize>();
        self.unsolicited = VecDeque::new();
    }

    /// Ends the time in which events are kept for a caller that has not asked for them.
    pub(super) fn request_begins(&mut self) {
        if self.subscription == Subscription::Undecided {
            self.unsubscribe();
        }
    }
}

impl StreamState {
    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    pub(super) fn has_response(&self) -> bool {
        self.response.is_some()
    }

    pub(super) fn take_response(&mut self) -> Option<Response> {
        self.response.take()
    }

    /// Registers the caller that waits for the next item.
    pub(super) fn register(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    pub(super) fn complete(&mut self, response: Response) -> Option<Waker> {
        self.response = Some(response);
        self.waker.take()
    }
}
