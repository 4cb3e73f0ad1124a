//! The move of a client from one connection to the next.

use super::link::{Link, LinkName};
use super::{Pending, RequestQueue, State};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use std::task::Waker;

impl RequestQueue {
    /// Begins a new connection: the driver that calls this takes the requests that no driver has taken, and all later ones.
    /// Returns the name of the former connection, which keeps those that it has, and whether callers send descriptors.
    pub(in super::super) fn leave(&self) -> (LinkName, bool) {
        let mut state = self.state();
        let first_id = state.unsent.front().map_or(RequestId(state.next_id), |(id, _)| *id);
        let name = state.current.name;
        let next = state.current.next(first_id);
        let former = std::mem::replace(&mut state.current, next);
        state.former.push(former);
        (name, state.passes_descriptors)
    }

    /// Ends the former connection `name`. The requests that it has not answered fail with `reason`.
    pub(in super::super) fn end_former(&self, name: LinkName, reason: &FrameClientError) {
        let mut state = self.state();
        let Some(index) = state.former.iter().position(|former| former.name == name) else { return };
        let first = state.former.remove(index).first_id;
        let end = state.former.get(index).unwrap_or(&state.current).first_id;
        let State { pending, barriers, .. } = &mut *state;
        let failed = pending.iter_mut().filter(|(id, _)| (first..end).contains(id));
        let mut wakers: Vec<_> = failed.filter_map(|(_, pending)| pending.fail(reason)).collect();
        wakers.append(&mut barriers.take_wakers());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends a connection whose endpoint another process serves by now, if no request waits for its driver. Each later request
    /// is unsent.
    pub(in super::super) fn end_moved(&self) -> bool {
        let mut state = self.state();
        if !state.unsent.is_empty() {
            return false;
        }
        let wakers = state.end(FrameClientError::Dead);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        true
    }
}

impl Pending {
    /// Fails a request that has no response. Returns the waker to call.
    pub(super) fn fail(&mut self, reason: &FrameClientError) -> Option<Waker> {
        match self {
            Self::Waiting(waker) => {
                let waker = waker.clone();
                *self = Self::Complete(Err(reason.clone()));
                Some(waker)
            }
            Self::Streaming(stream) if !stream.has_response() => stream.complete(Err(reason.clone())),
            Self::Complete(_) | Self::Streaming(_) => None,
        }
    }
}

impl State {
    /// Returns the former connection `name`; the current one for `None`.
    pub(super) fn link(&mut self, name: Option<LinkName>) -> &mut Link {
        let former = name.and_then(|name| self.former.iter_mut().find(|former| former.name == name));
        former.unwrap_or(&mut self.current)
    }

    /// Returns the connection that has taken the request `id`.
    pub(super) fn link_of(&mut self, id: RequestId) -> &mut Link {
        let former = self.former.iter_mut().rev().find(|former| former.first_id <= id);
        former.filter(|_| id < self.current.first_id).unwrap_or(&mut self.current)
    }

    /// Returns whether each connection has passed the barrier, or has ended.
    pub(super) fn has_passed(&self, barrier: u64) -> bool {
        let current = if self.end.is_none() { Some(&self.current) } else { None };
        self.former.iter().chain(current).all(|link| link.passed >= barrier)
    }
}
