//! The requests of one daemon, served by workers on many machines, over NATS.
//!
//! The daemon of a machine owns its endpoint as any other: its clients prove it, send requests, and know nothing of workers. A
//! [`Gateway`] hands each request to one [`Worker`] of a queue group. While a worker works it says so. A worker that has been silent
//! for [`SILENCE`] is taken for lost, and the request is handed to another one, so a handler must be one that may run twice.

mod gateway;
mod worker;

pub use gateway::Gateway;
pub use worker::{Worker, WorkerError};

use std::time::Duration;

/// The pause between two signs of life of a worker.
pub const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// The silence after which a worker is taken for lost.
pub const SILENCE: Duration = Duration::from_secs(5);

/// The subjects of one service. No part of a message depends on the wire between client and daemon.
#[derive(Clone, Debug)]
pub struct Subjects {
    /// Requests: one worker gets each of them.
    requests: String,
    /// Cancels, whose payload is the id of a request: every worker gets them.
    cancels: String,
}

impl Subjects {
    /// Returns the subjects of the service `name`, a token of NATS: without dots, wildcards and spaces.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { requests: format!("{name}.requests"), cancels: format!("{name}.cancels") }
    }
}

/// The queue group of the workers.
const WORKERS: &str = "workers";

/// The headers of messages.
mod header {
    /// Of a request: the time that is left for it, in milliseconds. The clocks of two machines differ, so it is no time of day.
    pub(crate) const TIMEOUT_MS: &str = "Timeout-Ms";
    /// Of a request: W3C Trace Context.
    pub(crate) const TRACEPARENT: &str = "traceparent";
    /// Of a reply: one of [`state`](super::state).
    pub(crate) const STATE: &str = "State";
}

/// The meanings of a reply.
mod state {
    /// A sign of life. The payload is empty.
    pub(crate) const WORKING: &str = "working";
    /// The payload is the answer.
    pub(crate) const ANSWERED: &str = "answered";
    /// The payload is the reason, a text.
    pub(crate) const FAILED: &str = "failed";
    /// The worker has as much as it takes; the request has not run.
    pub(crate) const BUSY: &str = "busy";
}
