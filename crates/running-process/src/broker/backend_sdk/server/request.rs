//! The requests that handlers get.

use super::cancellation::Cancellation;
use super::peer::PeerCredentials;
use crate::broker::backend_sdk::proto::recv_buffer::recycle;
use crate::broker::backend_sdk::proto::server_connection::CancelReason;
use crate::broker::protocol::{Frame, FrameRef};
use crate::descriptor::Descriptor;
#[cfg(unix)]
use std::os::fd::OwnedFd;
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

        /// Returns the descriptors that came with the request, in the order in which the client sent them. Programs that this process
        /// runs do not inherit them. They are closed with the request.
        #[cfg(unix)]
        #[must_use]
        pub fn descriptors(&self) -> &[std::os::fd::OwnedFd] {
            self.$($parts).*.descriptors()
        }

        /// Takes the [`descriptors`](Self::descriptors), and leaves none.
        #[cfg(unix)]
        pub fn take_descriptors(&mut self) -> Vec<std::os::fd::OwnedFd> {
            self.$($parts).*.take_descriptors()
        }

        /// Returns the most descriptors that the client takes with the answer, or with one event; 0 if it takes none, as every client on
        /// Windows.
        #[must_use]
        pub fn accepted_descriptors(&self) -> usize {
            self.$($parts).*.accepted_descriptors()
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
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are none"))]
    descriptors: Vec<Descriptor>,
    accepted_descriptors: u8,
    deadline: Option<Instant>,
    peer: PeerCredentials,
    cancellation: Cancellation,
}

impl RequestParts {
    pub(super) fn new(
        frame: Frame,
        (descriptors, accepted_descriptors): (Vec<Descriptor>, u8),
        deadline: Option<Instant>,
        peer: PeerCredentials,
        cancellation: Cancellation,
    ) -> Self {
        Self { frame, descriptors, accepted_descriptors, deadline, peer, cancellation }
    }

    /// Returns the descriptors that came with the request.
    #[cfg(unix)]
    #[must_use]
    pub fn descriptors(&self) -> &[OwnedFd] {
        &self.descriptors
    }

    /// Takes the descriptors that came with the request, and leaves none.
    #[cfg(unix)]
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Returns the most descriptors that the client takes with the answer, or with one event.
    #[must_use]
    pub fn accepted_descriptors(&self) -> usize {
        self.accepted_descriptors.into()
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
        recycle(&mut self.frame.payload);
    }
}

/// A request in the hands of an inline handler, which borrows it from the connection's receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct InlineRequest<'a> {
    frame: FrameRef<'a>,
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are none"))]
    descriptors: &'a [Descriptor],
    peer: PeerCredentials,
}

impl<'a> InlineRequest<'a> {
    pub(super) fn new(frame: FrameRef<'a>, descriptors: &'a [Descriptor], peer: PeerCredentials) -> Self {
        Self { frame, descriptors, peer }
    }

    /// Returns the descriptors that came with the request. They are closed once the handler has returned.
    #[cfg(unix)]
    #[must_use]
    pub fn descriptors(&self) -> &'a [OwnedFd] {
        self.descriptors
    }

    /// Returns the most descriptors that the client takes with the answer.
    #[must_use]
    pub fn accepted_descriptors(&self) -> usize {
        self.frame.descriptors.accepted().into()
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
