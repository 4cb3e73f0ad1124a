//! Where every fact about a server goes, once: its counters, its observer, and, with the features of these names, tracing
//! and metrics.

#[cfg(feature = "metrics")]
mod metrics;
mod span;
pub(super) mod stats;
mod trouble;

pub(in super::super) use span::RequestSpan;
pub(super) use trouble::TroubleKind;

use super::callback::{self, Callback};
use super::config::ServerTrouble;
use super::hooks::Observer;
use super::peer::PeerCredentials;
use crate::broker::protocol::RefusalReason;
use stats::ServerStats;
use std::time::{Duration, Instant};

/// What happened in a server, or how often.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Fact<'a> {
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
    EventSent,
    /// Requests came, each of which will have an outcome.
    Asked {
        requests: u64,
    },
    /// A concurrent handler got a request.
    Began,
    /// A concurrent handler is done with a request.
    Ended,
    /// What became of requests.
    Outcome {
        #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "a label of metrics"))]
        payload_protocol: u32,
        outcome: Outcome,
        requests: u64,
    },
    /// How long requests took that were answered.
    Took {
        latency: Duration,
        requests: u64,
    },
    /// What a connection uses of the server's memory, in bytes.
    Memory {
        before: usize,
        now: usize,
    },
    /// The trouble, and the peer that it concerns, if any.
    Trouble(&'a ServerTrouble, Option<PeerCredentials>),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Outcome {
    Answered,
    Refused(RefusalReason),
    /// Nobody waited for it any more.
    Cancelled,
}

/// Who is told what happens in a server.
pub(in super::super) struct Observation {
    stats: ServerStats,
    observer: Observer,
    /// What the latencies of batches are measured with.
    clock: fn() -> Instant,
    #[cfg(feature = "metrics")]
    metrics: metrics::Metrics,
}

impl Observation {
    /// Of a server that runs from now on and serves the payload protocols `served`.
    pub(in super::super) fn begin(
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
    pub(in super::super) fn note(&self, fact: Fact<'_>) {
        self.count(&fact);
        if let Fact::Trouble(trouble, peer) = fact {
            self.tell(trouble, peer);
        }
    }

    #[inline]
    fn count(&self, fact: &Fact<'_>) {
        self.stats.count(fact);
        #[cfg(feature = "metrics")]
        callback::run(|| self.metrics.count(fact));
    }

    /// Tells the daemon, whose observer and whose subscriber of `tracing` may panic. A panic is counted.
    #[cold]
    fn tell(&self, trouble: &ServerTrouble, peer: Option<PeerCredentials>) {
        let traced = callback::run(|| span::warn(trouble, peer));
        let observed = callback::run(|| (self.observer)(trouble, peer.as_ref()));
        if traced.and(observed).is_none() {
            let panicked = ServerTrouble::CallbackPanicked { callback: Callback::Observe };
            self.count(&Fact::Trouble(&panicked, peer));
        }
    }

    pub(in super::super) fn trouble(&self, trouble: &ServerTrouble) {
        self.note(Fact::Trouble(trouble, None));
    }

    /// Notes what went wrong with the connection or a request of `peer`.
    pub(in super::super) fn trouble_of(&self, peer: PeerCredentials, trouble: &ServerTrouble) {
        self.note(Fact::Trouble(trouble, Some(peer)));
    }

    pub(in super::super) fn outcome(&self, payload_protocol: u32, outcome: Outcome) {
        self.note(Fact::Outcome { payload_protocol, outcome, requests: 1 });
    }

    /// Requests were answered at `ended` that the server took at `taken`.
    pub(in super::super) fn took(&self, taken: Instant, ended: Instant, requests: u64) {
        let latency = ended.saturating_duration_since(taken);
        self.note(Fact::Took { latency, requests });
    }

    pub(in super::super) fn stats(&self) -> &ServerStats {
        &self.stats
    }
}

/// What became at once of requests that came together. It is noted for all of them when this is dropped, as far as it is
/// the same, so that what is answered inline costs little.
pub(in super::super) struct Batch<'a> {
    observation: &'a Observation,
    asked: u64,
    /// When the server took those that were answered.
    taken: Option<Instant>,
    answered: u64,
    /// The last of these, which have one protocol, are still to be noted.
    payload_protocol: u32,
    unnoted: u64,
}

impl<'a> Batch<'a> {
    pub(in super::super) fn new(observation: &'a Observation) -> Self {
        Self { observation, asked: 0, taken: None, answered: 0, payload_protocol: 0, unnoted: 0 }
    }

    pub(in super::super) fn asked(&mut self) {
        self.asked += 1;
    }

    /// A request was answered that the server took at `taken`, as all of them.
    pub(in super::super) fn answered(&mut self, payload_protocol: u32, taken: Instant) {
        if payload_protocol != self.payload_protocol {
            self.note_answered();
            self.payload_protocol = payload_protocol;
        }
        self.taken = Some(taken);
        self.answered += 1;
        self.unnoted += 1;
    }

    pub(in super::super) fn refused(&self, payload_protocol: u32, reason: RefusalReason) {
        self.observation.outcome(payload_protocol, Outcome::Refused(reason));
    }

    fn note_answered(&mut self) {
        let requests = std::mem::take(&mut self.unnoted);
        if requests > 0 {
            let (payload_protocol, outcome) = (self.payload_protocol, Outcome::Answered);
            self.observation.note(Fact::Outcome { payload_protocol, outcome, requests });
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.asked > 0 {
            self.observation.note(Fact::Asked { requests: self.asked });
        }
        self.note_answered();
        if let Some(taken) = self.taken {
            self.observation.took(taken, (self.observation.clock)(), self.answered);
        }
    }
}
