//! The requests that handlers get.

use super::cancellation::Cancellation;
use super::peer::PeerCredentials;
use crate::broker::backend_sdk::proto::recv_buffer::recycle;
use crate::broker::backend_sdk::proto::server_connection::CancelReason;
use crate::broker::protocol::{Frame, FrameRef};
use std::time::Instant;

/// The methods of a request that both servers have; `$parts` is its [`RequestParts`].
macro_rules! request_methods {
    ($($parts:ident).*) => {
        /// Returns the payload that the client sent.
        #[must_use]
        pub fn payload(&self) -> &[u8] {
            &self.$($parts).*.frame().payload
        }

        /// Returns the payload that the client sent, to keep or to answer with. It is not copied.
        #[must_use]
        pub fn into_payload(mut self) -> Vec<u8> {
            self.$($parts).*.take_payload()
        }

        /// Returns the whole frame: protocol, request id, trace context.
        #[must_use]
        pub fn frame(&self) -> &$crate::broker::protocol::Frame {
            self.$($parts).*.frame()
        }

        /// Returns the moment at which the client stops waiting for the answer; the request is cancelled then.
        #[must_use]
        pub fn deadline(&self) -> Option<std::time::Instant> {
            self.$($parts).*.deadline()
        }

        /// Returns the credentials of the peer that sent the request.
        #[must_use]
        pub fn peer(&self) -> $crate::broker::backend_sdk::PeerCredentials {
            self.$($parts).*.peer()
        }

        /// Returns why the client does not wait for the answer any more; `None` while it does. A handler that works for long
        /// looks now and then, and may return anything once its request is cancelled.
        #[must_use]
        pub fn cancelled(&self) -> Option<$crate::broker::backend_sdk::CancelReason> {
            self.$($parts).*.cancelled()
        }

        /// Returns the cancellation of this request, for another thread or task, such as one that kills a child process.
        #[must_use]
        pub fn cancellation(&self) -> $crate::broker::backend_sdk::Cancellation {
            self.$($parts).*.cancellation()
        }
    };
}
pub(super) use request_methods;

/// A request that a session took from its connection, without the connection.
#[derive(Debug)]
pub struct RequestParts {
    frame: Frame,
    deadline: Option<Instant>,
    peer: PeerCredentials,
    cancellation: Cancellation,
}

impl RequestParts {
    pub(super) fn new(
        frame: Frame,
        deadline: Option<Instant>,
        peer: PeerCredentials,
        cancellation: Cancellation,
    ) -> Self {
        Self { frame, deadline, peer, cancellation }
    }

    /// Returns the frame of the request: protocol, payload, request id, trace context.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Returns the moment at which the client stops waiting for the answer; the request is cancelled then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the credentials of the peer that sent the request.
    #[must_use]
    pub fn peer(&self) -> PeerCredentials {
        self.peer
    }

    /// Returns why the client does not wait for the answer any more; `None` while it does.
    #[must_use]
    pub fn cancelled(&self) -> Option<CancelReason> {
        self.cancellation.get()
    }

    /// Returns the cancellation of the request.
    #[must_use]
    pub fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// Takes the payload, without a copy, and leaves an empty one.
    pub fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.frame.payload)
    }
}

impl Drop for RequestParts {
    fn drop(&mut self) {
        recycle(self.take_payload());
    }
}

/// A request in the hands of an inline handler, which borrows it from the connection's receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct InlineRequest<'a> {
    frame: FrameRef<'a>,
    peer: PeerCredentials,
}

impl<'a> InlineRequest<'a> {
    pub(super) fn new(frame: FrameRef<'a>, peer: PeerCredentials) -> Self {
        Self { frame, peer }
    }

    /// Returns the payload that the client sent.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.frame.payload
    }

    /// Returns the whole frame: protocol, request id, trace context.
    #[must_use]
    pub fn frame(&self) -> &FrameRef<'a> {
        &self.frame
    }

    /// Returns the credentials of the peer that sent the request.
    #[must_use]
    pub fn peer(&self) -> PeerCredentials {
        self.peer
    }
}
