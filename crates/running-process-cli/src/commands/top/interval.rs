//! The difference of two statuses.

use running_process::broker::protocol::{LatencyHistogram, ServerStatus};
use std::time::Duration;

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// The difference of two statuses.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) seconds: f64,
    pub(super) received: u64,
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) cancelled: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) limits_hit: u64,
    pub(super) errors: u64,
    latencies: LatencyHistogram,
}

impl Interval {
    /// Returns the difference of `later` and `earlier`.
    pub(super) fn between(earlier: &ServerStatus, later: &ServerStatus, elapsed: Duration) -> Self {
        let change = |count: fn(&ServerStatus) -> u64| count(later).saturating_sub(count(earlier));
        Self {
            seconds: elapsed.as_secs_f64(),
            received: change(|status| status.requests_received),
            answered: change(|status| status.requests_answered),
            refused: change(ServerStatus::refused_in_all),
            cancelled: change(|status| status.requests_cancelled),
            bytes_received: change(|status| status.bytes_received),
            bytes_sent: change(|status| status.bytes_sent),
            limits_hit: change(ServerStatus::limits_hit),
            errors: change(|status| status.connection_errors),
            latencies: later.latencies().since(&earlier.latencies()),
        }
    }

    /// Returns a count per second, 0 if the interval is empty.
    #[expect(clippy::cast_precision_loss, reason = "a rate is not exact")]
    pub(super) fn rate(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }

    /// Returns the 99th percentile of the latencies.
    pub(super) fn p99(&self) -> Option<Duration> {
        self.latencies.quantile(0.99)
    }

    /// Returns the median, the 90th and the 99th percentile and the maximum.
    pub(super) fn latencies(&self) -> [(&'static str, Option<Duration>); 4] {
        let [p50, p90, p99] = QUANTILES.map(|(name, quantile)| (name, self.latencies.quantile(quantile)));
        [p50, p90, p99, ("max", self.latencies.max())]
    }

    /// Returns the distinct latencies in nanoseconds and their counts, in ascending order.
    pub(super) fn counts_by_latency(&self) -> Vec<(u64, u64)> {
        let nanos = |latency: Duration| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.counted().map(|(latency, count)| (nanos(latency), count)).collect()
    }
}
