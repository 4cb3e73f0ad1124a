//! Counts of answered and failed requests.

use hdrhistogram::Histogram;
use running_process::broker::backend_sdk::FrameClientError;
use std::collections::BTreeMap;
use std::time::Duration;

/// Precision of latencies in significant digits.
const DIGITS: u8 = 3;

/// The answered requests.
#[derive(Debug)]
pub(super) struct Answers {
    /// In nanoseconds.
    pub(super) latencies: Histogram<u64>,
    /// Length of all responses' payloads.
    pub(super) received_bytes: u64,
    /// The responses that are errors of the daemon's protocol, and the first of them.
    pub(super) errors: u64,
    pub(super) first_error: Option<Vec<u8>>,
}

impl Answers {
    /// Creates an empty tally.
    pub(super) fn new() -> Self {
        let latencies = Histogram::new(DIGITS).expect("three digits are within its range");
        Self { latencies, received_bytes: 0, errors: 0, first_error: None }
    }

    /// Adds an answered request.
    pub(super) fn add(&mut self, latency: Duration, received_bytes: usize) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.record(nanos).expect("the histogram grows as needed");
        self.received_bytes += received_bytes as u64;
    }

    /// Adds that the response of an answered request is an error.
    pub(super) fn add_error(&mut self, payload: Vec<u8>) {
        self.errors += 1;
        self.first_error.get_or_insert(payload);
    }

    /// Adds the requests of another tally.
    pub(super) fn merge(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("the histogram grows as needed");
        self.received_bytes += other.received_bytes;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }

    pub(super) fn count(&self) -> u64 {
        self.latencies.len()
    }
}

/// The failed requests, by the name of their error.
#[derive(Debug, Default)]
pub(super) struct Failures(pub(super) BTreeMap<String, FailureKind>);

#[derive(Debug)]
pub(super) struct FailureKind {
    pub(super) count: u64,
    pub(super) first: FrameClientError,
}

impl Failures {
    /// Adds a failed request.
    pub(super) fn add(&mut self, error: FrameClientError) {
        let kind = self.0.entry(variant_name(&error)).or_insert(FailureKind { count: 0, first: error });
        kind.count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|kind| kind.count).sum()
    }
}

/// Returns the name of the error's variant, even of one that the library adds later.
fn variant_name(error: &FrameClientError) -> String {
    let debug = format!("{error:?}");
    debug.chars().take_while(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Arc;

    #[test]
    fn errors_are_counted_by_variant_and_the_first_is_kept() {
        let mut failures = Failures::default();
        let timed_out = |ms| FrameClientError::TimedOut { timeout: Duration::from_millis(ms) };
        failures.add(timed_out(1));
        failures.add(timed_out(2));
        failures.add(FrameClientError::Closed);
        failures.add(FrameClientError::Stream(Arc::new(io::ErrorKind::BrokenPipe.into())));
        assert_eq!(failures.count(), 4);
        let kinds: Vec<_> = failures.0.iter().map(|(name, kind)| (name.as_str(), kind.count)).collect();
        assert_eq!(kinds, [("Closed", 1), ("Stream", 1), ("TimedOut", 2)]);
        assert_eq!(failures.0["TimedOut"].first.to_string(), "no answer within 1ms");
    }

    #[test]
    fn a_merge_keeps_all_answers() {
        let mut one = Answers::new();
        one.add(Duration::from_micros(10), 3);
        let mut other = Answers::new();
        other.add(Duration::from_hours(1), 4);
        other.add(Duration::ZERO, 0);
        other.add_error(b"-ERR".to_vec());
        one.merge(&other);
        assert_eq!((one.errors, one.first_error.as_deref()), (1, Some(&b"-ERR"[..])));
        assert_eq!((one.count(), one.received_bytes), (3, 7));
        assert_eq!(one.latencies.min(), 0);
        let hour = 3_600_000_000_000;
        assert!((hour..hour + hour / 1000).contains(&one.latencies.max()));
    }
}
