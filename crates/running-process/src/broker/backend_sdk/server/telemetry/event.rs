//! The events that a server counts and reports.

use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::protocol::RefusalReason;
use std::time::Duration;

/// An event of a server, or several of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// A connection was accepted and is served.
    Opened,
    /// A connection that was opened is gone.
    Closed,
    ProbeAnswered,
    Received {
        bytes: usize,
    },
    Sent {
        bytes: usize,
    },
    /// A handler sent an event ahead of its answer.
    Emitted,
    /// Requests came, each of which will have an outcome.
    Asked {
        requests: u64,
    },
    /// A concurrent handler got a request.
    Began,
    /// A concurrent handler is done with a request.
    Ended,
    /// Requests ended with an outcome.
    Outcome {
        #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "a label of metrics"))]
        payload_protocol: u32,
        outcome: Outcome,
        requests: u64,
    },
    /// Requests were answered after `latency`.
    Took {
        latency: Duration,
        requests: u64,
    },
    /// The memory that a connection is charged with changed, in bytes.
    Memory {
        before: usize,
        now: usize,
    },
    /// The error, and the peer that it concerns, if any.
    Error(&'a ServeError, Option<PeerCredentials>),
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Refused(RefusalReason),
    /// The peer did not wait for it any more.
    Cancelled,
}
