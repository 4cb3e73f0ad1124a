//! The status of a server, and the histogram of its latencies.
//!
//! A request under [`STATUS_PAYLOAD_PROTOCOL`] is answered with an encoded [`ServerStatus`].

use super::generated::{LatencyHistogram, RefusalReason, ServerStatus};
use prost::{DecodeError, Message};
use std::time::Duration;

/// The payload protocol of status requests, unless the daemon serves it itself. The payload of the request is ignored.
///
/// It is an id for private use: the published peers know no status requests, so no id is reserved for them.
pub const STATUS_PAYLOAD_PROTOCOL: u32 = 0xFFFF;

/// Number of buckets of a histogram: enough for 2^43 ns, nearly two and a half hours. The last bucket also counts
/// longer durations.
#[cfg(any(feature = "host", test))]
pub(crate) const BUCKETS: usize = 40 * 8 + 8;

/// Returns the bucket of `duration`.
#[cfg(any(feature = "host", test))]
pub(crate) fn bucket_of(duration: Duration) -> usize {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    // The bucket keeps four significant bits.
    let shift = nanos.checked_ilog2().unwrap_or(0).saturating_sub(3);
    let bucket = usize::try_from(u64::from(shift) * 8 + (nanos >> shift)).unwrap_or(usize::MAX);
    bucket.min(BUCKETS - 1)
}

/// Returns the shortest duration in `bucket`.
fn begin_of(bucket: usize) -> Duration {
    let shift = (bucket / 8).saturating_sub(1);
    let begin = u32::try_from(shift).ok().and_then(|shift| 1_u64.checked_shl(shift));
    Duration::from_nanos(begin.unwrap_or(u64::MAX).saturating_mul((bucket - 8 * shift) as u64))
}

impl LatencyHistogram {
    /// Returns the number of durations that were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        sum(&self.counts)
    }

    /// Returns the duration that the fraction `quantile` of all, from 0 to 1, do not exceed: 0.99 is the 99th
    /// percentile. It is never below the exact value, and above it by at most an eighth. Returns `None` if nothing was
    /// counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = rank(self.count(), quantile);
        let mut up_to = 0;
        let bucket = self.counts.iter().position(|count| {
            up_to = count.saturating_add(up_to);
            up_to >= rank
        })?;
        Some(begin_of(bucket + 1).saturating_sub(Duration::from_nanos(1)))
    }

    /// Returns the longest duration. It is never below the exact value, and above it by at most an eighth. Returns
    /// `None` if nothing was counted.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.quantile(1.0)
    }

    /// Returns each bucket in which durations were counted, as its shortest duration and its count, in ascending order.
    pub fn counted(&self) -> impl Iterator<Item = (Duration, u64)> {
        let buckets = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        buckets.map(|(bucket, count)| (begin_of(bucket), *count))
    }

    /// Returns the durations counted after `earlier`, an earlier histogram of the same server.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let earlier = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        Self { counts: self.counts.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect() }
    }
}

impl ServerStatus {
    /// Reads the payload of the response to a status request.
    ///
    /// # Errors
    ///
    /// The payload is no status: the daemon serves a protocol of its own under that id.
    pub fn from_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(payload)
    }

    /// Returns the time for which the server has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        Duration::from_millis(self.uptime_ms)
    }

    /// Returns the number of requests that were refused for `reason`.
    #[must_use]
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.requests_refused.get(reason as usize).copied().unwrap_or(0)
    }

    /// Returns the number of requests that were refused, for all reasons.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        sum(&self.requests_refused)
    }

    /// Returns the number of times that any limit or deadline of the server was hit.
    #[must_use]
    pub fn limits_hit(&self) -> u64 {
        sum(&[
            self.connections_refused,
            self.in_flight_limit_hit,
            self.memory_limit_hit,
            self.first_message_limit_hit,
            self.first_message_deadline_hit,
            self.message_deadline_hit,
            self.probed_deadline_hit,
            self.idle_deadline_hit,
            self.write_deadline_hit,
        ])
    }

    /// Returns the latencies of requests; empty if none was answered.
    #[must_use]
    pub fn latencies(&self) -> LatencyHistogram {
        self.latency.clone().unwrap_or_default()
    }
}

/// Returns the rank, from 1, of the value that the fraction `quantile` of `count` values do not exceed.
fn rank(count: u64, quantile: f64) -> u64 {
    // A decimal fraction is rarely a float, and the product is rounded: together at most one EPSILON too much, which
    // would make the next rank of a product that is whole.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is not exact above 2^50, and a float that is no number of any use is cut off"
    )]
    let rank = (count as f64 * quantile * (1.0 - 2.0 * f64::EPSILON)).ceil() as u64;
    rank.clamp(1, count.max(1))
}

/// Adds counts of a peer, which may be any numbers.
fn sum(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(durations: &[u64]) -> LatencyHistogram {
        let mut counts = vec![0; BUCKETS];
        for nanos in durations {
            counts[bucket_of(Duration::from_nanos(*nanos))] += 1;
        }
        LatencyHistogram { counts }
    }

    #[test]
    fn buckets_are_adjacent_and_an_eighth_wide_at_most() {
        for bucket in 0..BUCKETS {
            let (begin, end) = (begin_of(bucket), begin_of(bucket + 1));
            let last = end.saturating_sub(Duration::from_nanos(1));
            assert_eq!((bucket_of(begin), bucket_of(last)), (bucket, bucket));
            assert!(last <= begin + begin / 8, "{bucket}: {begin:?} to {last:?}");
        }
        assert_eq!(begin_of(BUCKETS), Duration::from_nanos(1 << 43));
    }

    #[test]
    fn what_takes_too_long_counts_as_the_longest() {
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
        assert!(begin_of(BUCKETS - 1) > Duration::from_hours(2));
    }

    #[test]
    fn nothing_has_no_quantile_and_is_no_reason_to_panic() {
        assert_eq!(LatencyHistogram::default().quantile(0.5), None);
        assert_eq!(histogram(&[]).max(), None);
        for quantile in [f64::NAN, -1.0, f64::INFINITY] {
            assert!(histogram(&[7]).quantile(quantile).is_some(), "{quantile}");
        }
    }

    #[test]
    fn a_rank_is_that_of_the_decimal_fraction() {
        for count in 1..=1500_u64 {
            for per_mille in 0..=1000_u64 {
                #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
                let found = rank(count, per_mille as f64 / 1000.0);
                assert_eq!(
                    found,
                    (count * per_mille).div_ceil(1000).max(1),
                    "{per_mille} of 1000, {count} values"
                );
            }
        }
        assert_eq!(
            [(1, f64::NAN), (9, -1.0), (9, 2.0), (0, 0.5)].map(|(count, at)| rank(count, at)),
            [1, 1, 9, 1]
        );
    }

    #[test]
    fn only_buckets_with_durations_are_counted() {
        let counted: Vec<_> = histogram(&[100, 5, 101]).counted().collect();
        assert_eq!(counted, [(Duration::from_nanos(5), 1), (Duration::from_nanos(96), 2)]);
    }

    #[test]
    fn a_peer_that_counts_beyond_the_last_bucket_is_no_reason_to_panic() {
        let counts = [vec![0; 100_000], vec![u64::MAX, 1]].concat();
        assert!(
            LatencyHistogram { counts: counts[..100_001].to_vec() }.max() > Some(Duration::from_hours(2))
        );
        assert!(LatencyHistogram { counts }.quantile(0.5).is_some());
    }

    #[test]
    fn a_status_tells_the_time_the_latencies_and_the_limits_that_were_hit() {
        let limits = ServerStatus { memory_limit_hit: 2, write_deadline_hit: 3, ..ServerStatus::default() };
        assert_eq!((limits.limits_hit(), limits.uptime()), (5, Duration::ZERO));
        assert_eq!(limits.latencies(), LatencyHistogram::default());
        let latency = Some(histogram(&[5]));
        let busy = ServerStatus { uptime_ms: 1500, latency: latency.clone(), ..ServerStatus::default() };
        assert_eq!((busy.limits_hit(), busy.uptime()), (0, Duration::from_millis(1500)));
        assert_eq!(Some(busy.latencies()), latency);
    }

    #[test]
    fn a_reason_that_was_never_given_is_zero() {
        let status = ServerStatus { requests_refused: vec![0, 3], ..ServerStatus::default() };
        assert_eq!(status.refused(RefusalReason::Overloaded), 3);
        assert_eq!(status.refused(RefusalReason::AnswerTooLarge), 0);
        assert_eq!(status.refused_in_all(), 3);
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_exact_one_or_up_to_an_eighth_more(
            mut durations in prop::collection::vec((0_u32..43).prop_flat_map(|bits| 0_u64..1 << bits), 1..300),
            per_mille in 0_usize..=1000,
        ) {
            let histogram = histogram(&durations);
            durations.sort_unstable();
            let rank = (durations.len() * per_mille).div_ceil(1000).max(1);
            let exact = Duration::from_nanos(durations[rank - 1]);
            #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
            let found = histogram.quantile(per_mille as f64 / 1000.0).unwrap_or_default();
            prop_assert!(exact <= found && found <= exact + exact / 8, "{exact:?}, found {found:?}");
        }

        #[test]
        fn what_came_after_is_told_apart_from_what_came_before(
            before in prop::collection::vec(any::<u64>(), 0..50),
            after in prop::collection::vec(any::<u64>(), 0..50),
        ) {
            let all = [before.clone(), after.clone()].concat();
            prop_assert_eq!(histogram(&all).since(&histogram(&before)), histogram(&after));
        }
    }
}
