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
use stats::ServerStats;
use std::mem::take;
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

/// Counts of requests that are noted together, so that a request costs little.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    asked: u64,
    /// When the server took the requests that inline handlers have answered, and their number.
    taken: Option<Instant>,
    answered_inline: u64,
    /// The payload protocol of the requests that were answered, and their number.
    payload_protocol: u32,
    answered: u64,
}

impl Batch {
    pub(crate) fn asked(&mut self) {
        self.asked += 1;
    }

    /// Adds a request that was answered.
    pub(crate) fn answered(&mut self, payload_protocol: u32, telemetry: &Telemetry) {
        if payload_protocol != self.payload_protocol {
            self.note_answered(telemetry);
            self.payload_protocol = payload_protocol;
        }
        self.answered += 1;
    }

    /// Adds a request that was answered inline, which the server took at `taken` like all of the batch.
    pub(crate) fn answered_inline(&mut self, payload_protocol: u32, taken: Instant, telemetry: &Telemetry) {
        self.answered(payload_protocol, telemetry);
        self.taken = Some(taken);
        self.answered_inline += 1;
    }

    /// Notes all that was added.
    pub(crate) fn note(&mut self, telemetry: &Telemetry) {
        if self.asked > 0 {
            telemetry.note(Event::Asked { requests: take(&mut self.asked) });
        }
        self.note_answered(telemetry);
        if let Some(taken) = self.taken.take() {
            telemetry.took(taken, (telemetry.clock)(), take(&mut self.answered_inline));
        }
    }

    fn note_answered(&mut self, telemetry: &Telemetry) {
        let requests = take(&mut self.answered);
        if requests > 0 {
            let (payload_protocol, outcome) = (self.payload_protocol, Outcome::Answered);
            telemetry.note(Event::Outcome { payload_protocol, outcome, requests });
        }
    }
}
