//! The events of a server through the facade `metrics`, under the names that `docs/observe.md` lists.

use super::error_kind::ErrorKind;
use super::event::{Event, Outcome};
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use std::collections::BTreeMap;

/// Handles to the recorder that is installed when the server begins to run.
pub(super) struct Metrics {
    connections: Counter,
    connections_open: Gauge,
    probes: Counter,
    received: Counter,
    sent: Counter,
    events: Counter,
    in_flight: Gauge,
    memory: Gauge,
    latency: Histogram,
    /// By payload protocol.
    served: BTreeMap<u32, Outcomes>,
    /// Outcomes of all protocols that are not served. Peers choose these, so they share a label.
    unserved: Outcomes,
}

struct Outcomes {
    answered: Counter,
    refused: Counter,
    cancelled: Counter,
}

impl Outcomes {
    fn new(protocol: &str) -> Self {
        let [answered, refused, cancelled] = ["answered", "refused", "cancelled"].map(|outcome| {
            counter!("running_process_requests_total", "protocol" => protocol.to_owned(), "outcome" => outcome)
        });
        Self { answered, refused, cancelled }
    }
}

impl Metrics {
    pub(super) fn new(served: &[u32]) -> Self {
        describe();
        Self {
            connections: counter!("running_process_connections_total"),
            connections_open: gauge!("running_process_connections_open"),
            probes: counter!("running_process_probes_total"),
            received: counter!("running_process_received_bytes_total"),
            sent: counter!("running_process_sent_bytes_total"),
            events: counter!("running_process_events_total"),
            in_flight: gauge!("running_process_requests_in_flight"),
            memory: gauge!("running_process_memory_bytes"),
            latency: histogram!("running_process_request_duration_seconds"),
            served: served.iter().map(|id| (*id, Outcomes::new(&format!("0x{id:04X}")))).collect(),
            unserved: Outcomes::new("other"),
        }
    }

    pub(super) fn count(&self, event: &Event<'_>) {
        match *event {
            Event::Opened => {
                self.connections.increment(1);
                self.connections_open.increment(1.0);
            }
            Event::Closed => self.connections_open.decrement(1.0),
            Event::ProbeAnswered => self.probes.increment(1),
            Event::Received { bytes } => self.received.increment(bytes as u64),
            Event::Sent { bytes } => self.sent.increment(bytes as u64),
            Event::Emitted => self.events.increment(1),
            // Every request is counted once, by its outcome.
            Event::Asked { .. } => {}
            Event::Began => self.in_flight.increment(1.0),
            Event::Ended => self.in_flight.decrement(1.0),
            Event::Outcome { payload_protocol, outcome, requests } => {
                let outcomes = self.served.get(&payload_protocol).unwrap_or(&self.unserved);
                match outcome {
                    Outcome::Answered => outcomes.answered.increment(requests),
                    Outcome::Cancelled => outcomes.cancelled.increment(requests),
                    Outcome::Refused(reason) => {
                        outcomes.refused.increment(requests);
                        counter!("running_process_refusals_total", "reason" => reason.as_str_name())
                            .increment(requests);
                    }
                }
            }
            Event::Took { latency, requests } => {
                self.latency.record_many(latency, usize::try_from(requests).unwrap_or(usize::MAX));
            }
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
            Event::Memory { before, now } => self.memory.increment(now as f64 - before as f64),
            Event::Error(error, _) => {
                counter!("running_process_errors_total", "kind" => ErrorKind::of(error).name()).increment(1);
            }
        }
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!("running_process_connections_total", "connections that were served");
    describe_gauge!("running_process_connections_open", "connections that are open");
    describe_counter!("running_process_probes_total", "identity probes that were answered");
    describe_counter!("running_process_requests_total", "requests, by payload protocol and outcome");
    describe_counter!("running_process_refusals_total", "requests that were refused, by reason");
    describe_gauge!("running_process_requests_in_flight", "requests that handlers work on");
    describe_counter!("running_process_events_total", "events that were sent ahead of an answer");
    describe_counter!("running_process_received_bytes_total", Unit::Bytes, "bytes that were read");
    describe_counter!("running_process_sent_bytes_total", Unit::Bytes, "bytes that were written");
    describe_gauge!("running_process_memory_bytes", Unit::Bytes, "memory of buffers and requests at work");
    describe_counter!("running_process_errors_total", "errors that the observer is told of, by kind");
    describe_histogram!(
        "running_process_request_duration_seconds",
        Unit::Seconds,
        "from when a request is taken until its answer is ready to be written"
    );
}
