//! The events of a server, each noted once: for its counters, its observer and, with the features of these names, tracing and
//! metrics.

mod error_kind;
mod event;
#[cfg(feature = "metrics")]
mod metrics;
mod span;
pub(super) mod stats;

pub(crate) use event::{Event, Outcome};
pub(crate) use span::RequestSpan;

use super::callback::{self, Callback};
use super::config::ServeError;
use super::hooks::Observer;
use super::peer::PeerCredentials;
use crate::broker::protocol::RefusalReason;
use stats::ServerStats;
use std::time::Instant;

/// The receivers of a server's events: counters, observer and metrics.
pub(crate) struct Telemetry {
    stats: ServerStats,
    observer: Observer,
    /// The clock for the latencies of batches.
    clock: fn() -> Instant,
    #[cfg(feature = "metrics")]
    metrics: metrics::Metrics,
}

impl Telemetry {
    /// Returns the telemetry of a server that serves the payload protocols `served`, which begins to run now.
    pub(crate) fn begin(
        stats: ServerStats,
        observer: Observer,
        clock: fn() -> Instant,
        #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "labels of metrics"))]
        served: &[u32],
    ) -> Self {
        stats.begin();
        Self {
            stats,
            observer,
            clock,
            #[cfg(feature = "metrics")]
            metrics: metrics::Metrics::new(served),
        }
    }

    #[inline]
    pub(crate) fn note(&self, event: Event<'_>) {
        self.count(&event);
        if let Event::Error(error, peer) = event {
            self.tell(error, peer);
        }
    }

    #[inline]
    fn count(&self, event: &Event<'_>) {
        self.stats.count(event);
        #[cfg(feature = "metrics")]
        callback::run(|| self.metrics.count(event));
    }

    /// Tells the daemon, whose observer and whose subscriber of `tracing` may panic. A panic is counted.
    #[cold]
    fn tell(&self, error: &ServeError, peer: Option<PeerCredentials>) {
        let traced = callback::run(|| span::warn(error, peer));
        let observed = callback::run(|| (self.observer)(error, peer.as_ref()));
        if traced.and(observed).is_none() {
            let panicked = ServeError::CallbackPanicked { callback: Callback::Observe };
            self.count(&Event::Error(&panicked, peer));
        }
    }

    pub(crate) fn error(&self, error: &ServeError) {
        self.note(Event::Error(error, None));
    }

    /// Notes an error of the connection or a request of `peer`.
    pub(crate) fn error_of(&self, peer: PeerCredentials, error: &ServeError) {
        self.note(Event::Error(error, Some(peer)));
    }

    pub(crate) fn outcome(&self, payload_protocol: u32, outcome: Outcome) {
        self.note(Event::Outcome { payload_protocol, outcome, requests: 1 });
    }

    /// Notes that requests which the server took at `taken` were answered at `ended`.
    pub(crate) fn took(&self, taken: Instant, ended: Instant, requests: u64) {
        let latency = ended.saturating_duration_since(taken);
        self.note(Event::Took { latency, requests });
    }

    pub(crate) fn stats(&self) -> &ServerStats {
        &self.stats
    }
}

/// The outcomes of requests that were taken together. Equal outcomes are noted at once when this is dropped, so that an inline
/// answer costs little.
pub(crate) struct Batch<'a> {
    telemetry: &'a Telemetry,
    asked: u64,
    /// When the server took those that were answered.
    taken: Option<Instant>,
    answered: u64,
    /// The payload protocol of the `unnoted` requests.
    payload_protocol: u32,
    unnoted: u64,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(telemetry: &'a Telemetry) -> Self {
        Self { telemetry, asked: 0, taken: None, answered: 0, payload_protocol: 0, unnoted: 0 }
    }

    pub(crate) fn asked(&mut self) {
        self.asked += 1;
    }

    /// Notes that a request was answered, which the server took at `taken` like all of the batch.
    pub(crate) fn answered(&mut self, payload_protocol: u32, taken: Instant) {
        if payload_protocol != self.payload_protocol {
            self.note_answered();
            self.payload_protocol = payload_protocol;
        }
        self.taken = Some(taken);
        self.answered += 1;
        self.unnoted += 1;
    }

    pub(crate) fn refused(&self, payload_protocol: u32, reason: RefusalReason) {
        self.telemetry.outcome(payload_protocol, Outcome::Refused(reason));
    }

    fn note_answered(&mut self) {
        let requests = std::mem::take(&mut self.unnoted);
        if requests > 0 {
            let (payload_protocol, outcome) = (self.payload_protocol, Outcome::Answered);
            self.telemetry.note(Event::Outcome { payload_protocol, outcome, requests });
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.asked > 0 {
            self.telemetry.note(Event::Asked { requests: self.asked });
        }
        self.note_answered();
        if let Some(taken) = self.taken {
            self.telemetry.took(taken, (self.telemetry.clock)(), self.answered);
        }
    }
}
