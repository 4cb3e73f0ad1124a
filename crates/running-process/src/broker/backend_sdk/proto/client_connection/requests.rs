//! The requests in flight of one client connection, and the meaning of a daemon's frame to them.

use super::error::ClientConnectionError;
use super::event::{ClientEvent, RequestId};
use super::recv_buffer::ReceivedFrame;
use crate::broker::backend_sdk::proto::id_map::{ById, IdHasher};
use crate::broker::protocol::registry::CONTROL_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{FrameKind, FrameRef, Notice, NoticeKind, Refusal};
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

/// The most requests whose late events are still told apart from other events. A daemon that answers a cancelled request ends
/// the need to remember it; this bounds what is remembered for one that does not.
const MAX_MUTED: usize = 1024;

/// The fields of a request beside its payload protocol and payload, and the treatment of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The deadline of the answer, in milliseconds since the Unix epoch; 0 is no deadline.
    pub deadline_unix_ms: u64,
    /// The `traceparent` of W3C Trace Context; empty is none.
    pub traceparent: &'a str,
    /// The `tracestate` of W3C Trace Context; empty is none.
    pub tracestate: &'a str,
    /// Returns the events of the request as [`ClientEvent::RequestEvent`]. Default: no; events under its id are then like those
    /// under any other id.
    pub events: bool,
    /// The most descriptors that the driver takes with the response, or with one event; 0 is none.
    pub(crate) accepted_descriptors: u8,
}

#[derive(Debug)]
pub(super) struct Requests {
    /// Every id below it was used or left out; a response with one of them that is not pending is late and dropped.
    next_id: u64,
    pending: ById<u64, Pending>,
    /// Cancelled requests whose events were returned. Late events of them are dropped.
    muted: HashSet<u64, BuildHasherDefault<IdHasher>>,
    /// Events of no request, and requests of the daemon's own, are returned.
    pub(super) unsolicited: bool,
    /// Number of frames that were dropped because they were not wanted.
    pub(super) dropped: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    payload_protocol: u32,
    events: Events,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Events {
    /// Its events are like those of any other id.
    Unsolicited,
    Wanted,
    Dropped,
}

impl Default for Requests {
    fn default() -> Self {
        // Zero is what a peer that does not correlate sends.
        Self {
            next_id: 1,
            pending: ById::default(),
            muted: HashSet::default(),
            unsolicited: true,
            dropped: 0,
        }
    }
}

impl Requests {
    /// Returns the id of the next request.
    #[inline]
    pub(super) fn next_id(&self) -> RequestId {
        RequestId(self.next_id)
    }

    /// Notes that the request `id`, which is the next one or a later one, was sent.
    #[inline]
    pub(super) fn sent(&mut self, RequestId(id): RequestId, payload_protocol: u32, events: bool) {
        debug_assert!(id >= self.next_id, "request {id} is sent twice");
        let events = if events { Events::Wanted } else { Events::Unsolicited };
        self.next_id = id + 1;
        self.pending.insert(id, Pending { payload_protocol, events });
    }

    pub(super) fn is_pending(&self, request: RequestId) -> bool {
        self.pending.contains_key(&request.0)
    }

    #[cfg(feature = "tokio")]
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Cancels a request. Returns its payload protocol, if it was in flight.
    pub(super) fn cancel(&mut self, request: RequestId) -> Option<u32> {
        let Pending { payload_protocol, events } = self.pending.remove(&request.0)?;
        if events != Events::Unsolicited {
            if self.muted.len() == MAX_MUTED {
                self.muted.clear();
            }
            self.muted.insert(request.0);
        }
        Some(payload_protocol)
    }

    /// Drops the events of `request` from now on.
    pub(super) fn drop_events(&mut self, request: RequestId) {
        if let Some(pending) = self.pending.get_mut(&request.0) {
            pending.events = Events::Dropped;
        }
    }

    /// Removes the request that `frame` answers. If the payload protocol differs, returns the removed request as the error, and
    /// [`correlate`](Self::correlate) returns the meaning of the frame.
    #[inline]
    pub(super) fn answered(&mut self, kind: FrameKind, frame: &FrameRef<'_>) -> Result<(), Option<Pending>> {
        if kind != FrameKind::Response {
            return Err(None);
        }
        match self.pending.remove(&frame.request_id) {
            Some(pending) if pending.payload_protocol == frame.payload_protocol => Ok(()),
            removed => Err(removed),
        }
    }

    /// Returns the event for a frame that is not a [matching response](Self::answered). `None` is a frame to drop: a late response
    /// or refusal, or an event that is not wanted.
    #[inline(never)]
    pub(super) fn correlate(
        &mut self,
        kind: FrameKind,
        received: &ReceivedFrame<'_>,
        removed: Option<Pending>,
    ) -> Result<Option<ClientEvent<()>>, ClientConnectionError> {
        let FrameRef { request_id: id, payload_protocol: got, .. } = received.frame;
        if kind != FrameKind::Response {
            let notice = (got, id) == (CONTROL_PAYLOAD_PROTOCOL, 0);
            let notice = if notice { Notice::from_frame(&received.whole()) } else { None };
            if notice.is_some_and(|notice| notice.kind() == NoticeKind::Moved) {
                return Ok(Some(ClientEvent::Moved));
            }
            return Ok(self.unanswering(kind, id));
        }
        let Some(Pending { payload_protocol: expected, .. }) = removed else {
            return self.late(id).map(|()| None);
        };
        match Refusal::from_frame(&received.whole()) {
            Some(refusal) => Ok(Some(ClientEvent::Refused(RequestId(id), refusal))),
            None => Err(ClientConnectionError::PayloadProtocolMismatch { got, expected }),
        }
    }

    /// Accepts a late response, to a request that is not in flight any more.
    fn late(&mut self, id: u64) -> Result<(), ClientConnectionError> {
        if !(1..self.next_id).contains(&id) {
            return Err(ClientConnectionError::UnknownRequest { got: id });
        }
        self.muted.remove(&id);
        Ok(())
    }

    /// Returns the event for a frame that is not a response; counts the frame as dropped if it is not wanted.
    fn unanswering(&mut self, kind: FrameKind, id: u64) -> Option<ClientEvent<()>> {
        if kind == FrameKind::Event {
            let pending = self.pending.get(&id).map(|pending| pending.events);
            match pending {
                Some(Events::Wanted) => return Some(ClientEvent::RequestEvent(RequestId(id), ())),
                None if !self.muted.contains(&id) && self.unsolicited => {
                    return Some(ClientEvent::Event(()));
                }
                Some(Events::Unsolicited) if self.unsolicited => return Some(ClientEvent::Event(())),
                _ => {}
            }
        } else if self.unsolicited {
            return Some(ClientEvent::Other(()));
        }
        self.dropped += 1;
        None
    }
}
