//! The counters of a server: atomics of a fixed size, without a lock.

use super::error_kind::ErrorKind;
use super::event::{Event, Outcome};
use crate::broker::protocol::status::{BUCKETS, bucket_of};
use crate::broker::protocol::{LatencyHistogram, RefusalReason, ServerStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// One more than the largest [`RefusalReason`].
const REASONS: usize = RefusalReason::AnswerTooLarge as usize + 1;

/// The counters of a server, which can be read while it runs and after. Clones share them.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::{Endpoint, FrameClient, Server};
///
/// # let directory = tempfile::tempdir()?;
/// # let socket = directory.path().join("socket").into_os_string().into_string().unwrap();
/// # let endpoint = Endpoint::unix_socket("echo", socket)?;
/// let server = Server::bind(endpoint.clone())?.serve(0xF00D, |request| Ok(request.payload().to_vec()));
/// let (stats, running) = (server.stats(), server.start()?);
/// FrameClient::connect(&endpoint)?.request(0xF00D, b"ping")?;
/// running.stop_handle().stop();
/// running.wait()?;
/// assert_eq!(stats.snapshot().requests_answered, 1);
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerStats(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    /// When the server began to run.
    began: OnceLock<Instant>,
    connections_accepted: AtomicU64,
    connections_ended: AtomicU64,
    probes_answered: AtomicU64,
    requests_received: AtomicU64,
    requests_answered: AtomicU64,
    requests_refused: [AtomicU64; REASONS],
    requests_cancelled: AtomicU64,
    requests_in_flight: AtomicU64,
    events_sent: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    memory_bytes: AtomicU64,
    errors: [AtomicU64; ErrorKind::COUNT],
    latencies: [AtomicU64; BUCKETS],
}

impl ServerStats {
    pub(crate) fn zero() -> Self {
        Self(Arc::new(Counters {
            began: OnceLock::new(),
            connections_accepted: AtomicU64::default(),
            connections_ended: AtomicU64::default(),
            probes_answered: AtomicU64::default(),
            requests_received: AtomicU64::default(),
            requests_answered: AtomicU64::default(),
            requests_refused: [const { AtomicU64::new(0) }; REASONS],
            requests_cancelled: AtomicU64::default(),
            requests_in_flight: AtomicU64::default(),
            events_sent: AtomicU64::default(),
            bytes_received: AtomicU64::default(),
            bytes_sent: AtomicU64::default(),
            memory_bytes: AtomicU64::default(),
            errors: [const { AtomicU64::new(0) }; ErrorKind::COUNT],
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
        }))
    }

    /// Returns the counters of now. They are read one after the other while the server goes on to count.
    #[must_use]
    pub fn snapshot(&self) -> ServerStatus {
        let counters = &*self.0;
        let uptime = counters.began.get().map(Instant::elapsed).unwrap_or_default();
        let errors = |kind| read(&counters.errors[kind as usize]);
        // Ended connections are read before accepted ones, so that the difference is not negative.
        let connections_ended = read(&counters.connections_ended);
        let connections_accepted = read(&counters.connections_accepted);
        ServerStatus {
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            connections_open: connections_accepted.saturating_sub(connections_ended),
            connections_accepted,
            connections_refused: errors(ErrorKind::TooManyConnections),
            connection_errors: ErrorKind::OF_CONNECTIONS.into_iter().map(errors).sum(),
            probes_answered: read(&counters.probes_answered),
            requests_received: read(&counters.requests_received),
            requests_answered: read(&counters.requests_answered),
            requests_refused: counters.requests_refused.iter().map(read).collect(),
            requests_cancelled: read(&counters.requests_cancelled),
            requests_in_flight: read(&counters.requests_in_flight),
            events_sent: read(&counters.events_sent),
            bytes_received: read(&counters.bytes_received),
            bytes_sent: read(&counters.bytes_sent),
            memory_bytes: read(&counters.memory_bytes),
            in_flight_limit_hit: errors(ErrorKind::TooManyRequests),
            memory_limit_hit: errors(ErrorKind::OutOfMemory),
            first_message_limit_hit: errors(ErrorKind::FirstMessageTooLarge),
            first_message_deadline_hit: errors(ErrorKind::FirstMessageLate),
            message_deadline_hit: errors(ErrorKind::MessageLate),
            probed_deadline_hit: errors(ErrorKind::NothingAfterProbe),
            idle_deadline_hit: errors(ErrorKind::Idle),
            write_deadline_hit: errors(ErrorKind::ReadsTooSlowly),
            callbacks_panicked: errors(ErrorKind::CallbackPanicked),
            latency: Some(LatencyHistogram { counts: counters.latencies.iter().map(read).collect() }),
        }
    }

    /// Returns the number of requests that concurrent handlers work on.
    pub(crate) fn requests_in_flight(&self) -> u64 {
        read(&self.0.requests_in_flight)
    }

    /// Notes that the server begins to run.
    pub(crate) fn begin(&self) {
        self.0.began.get_or_init(Instant::now);
    }

    pub(crate) fn count(&self, event: &Event<'_>) {
        let counters = &*self.0;
        match *event {
            Event::Opened => add(&counters.connections_accepted, 1),
            Event::Closed => add(&counters.connections_ended, 1),
            Event::ProbeAnswered => add(&counters.probes_answered, 1),
            Event::Received { bytes } => add(&counters.bytes_received, bytes as u64),
            Event::Sent { bytes } => add(&counters.bytes_sent, bytes as u64),
            Event::Emitted => add(&counters.events_sent, 1),
            Event::Asked { requests } => add(&counters.requests_received, requests),
            Event::Began => add(&counters.requests_in_flight, 1),
            Event::Ended => drop(counters.requests_in_flight.fetch_sub(1, Ordering::Relaxed)),
            Event::Outcome { outcome, requests, .. } => match outcome {
                Outcome::Answered => add(&counters.requests_answered, requests),
                Outcome::Refused(reason) => add(&counters.requests_refused[reason as usize], requests),
                Outcome::Cancelled => add(&counters.requests_cancelled, requests),
            },
            Event::Took { latency, requests } => add(&counters.latencies[bucket_of(latency)], requests),
            Event::Memory { before, now } => {
                // Wraps around for less, and back again: the sum of all is never negative.
                add(&counters.memory_bytes, (now as u64).wrapping_sub(before as u64));
            }
            Event::Error(error, _) => add(&counters.errors[ErrorKind::of(error) as usize], 1),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
