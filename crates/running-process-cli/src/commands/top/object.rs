//! A status as JSON.

use super::interval::Interval;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::protocol::ServerStatus;
use serde_json::{Value, json};
use std::time::Duration;

/// Returns a status of `daemon` and its difference to the one before.
pub(super) fn of(daemon: &DaemonProcess, status: &ServerStatus, interval: &Interval) -> Value {
    let nanos = |latency: Duration| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let latencies = interval.latencies().map(|(name, latency)| (name.to_owned(), latency.map(nanos).into()));
    json!({
        "version": daemon.version(),
        "build": daemon.build(),
        "uptime_ms": status.uptime_ms,
        "elapsed_s": interval.seconds,
        "requests_per_second": interval.rate(interval.answered),
        "interval": {
            "requests_received": interval.received,
            "requests_answered": interval.answered,
            "requests_refused": interval.refused,
            "requests_cancelled": interval.cancelled,
            "bytes_received": interval.bytes_received,
            "bytes_sent": interval.bytes_sent,
            "limits_hit": interval.limits_hit,
            "connection_errors": interval.errors,
            "latency_ns": Value::Object(latencies.into_iter().collect()),
        },
        "connections_open": status.connections_open,
        "connections_accepted": status.connections_accepted,
        "connection_errors": status.connection_errors,
        "probes_answered": status.probes_answered,
        "requests_received": status.requests_received,
        "requests_answered": status.requests_answered,
        "requests_refused": status.refused_in_all(),
        "requests_cancelled": status.requests_cancelled,
        "requests_in_flight": status.requests_in_flight,
        "events_sent": status.events_sent,
        "bytes_received": status.bytes_received,
        "bytes_sent": status.bytes_sent,
        "memory_bytes": status.memory_bytes,
        "callbacks_panicked": status.callbacks_panicked,
        "limits_hit": {
            "connections": status.connections_refused,
            "in_flight": status.in_flight_limit_hit,
            "memory": status.memory_limit_hit,
            "first_message": status.first_message_limit_hit,
            "first_message_deadline": status.first_message_deadline_hit,
            "message_deadline": status.message_deadline_hit,
            "probed_deadline": status.probed_deadline_hit,
            "idle_deadline": status.idle_deadline_hit,
            "write_deadline": status.write_deadline_hit,
        },
    })
}
