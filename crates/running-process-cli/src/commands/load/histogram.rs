//! Latencies in buckets on a logarithmic scale, and their bars.

use crate::wire::grouped;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Edges of buckets in one decade, in tenths.
const FINE: &[u64] = &[10, 15, 20, 30, 50, 70];
/// Edges of buckets in one decade, in tenths, if the latencies span many decades.
const COARSE: &[u64] = &[10, 20, 50];

/// Ratio of the largest to the smallest latency from which the edges are coarse.
const COARSE_RATIO: u64 = 1000;

/// Last decade with edges: its last edge, 10^17 ns, is three years.
const LAST_DECADE: u32 = 16;

/// Columns of the longest bar on a narrow terminal.
const MIN_BAR_COLUMNS: usize = 8;

/// The number of latencies in `from_ns..to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bucket {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) count: u64,
}

/// Puts latencies in nanoseconds and their counts, in ascending order, into adjacent buckets.
pub(super) fn buckets(latencies: &[(u64, u64)]) -> Vec<Bucket> {
    let (Some(&(min, _)), Some(&(max, _))) = (latencies.first(), latencies.last()) else { return Vec::new() };
    let mut latencies = latencies.iter().peekable();
    let mut buckets = Vec::new();
    let steps = if max / min.max(1) < COARSE_RATIO { FINE } else { COARSE };
    let edges = (0..=LAST_DECADE).flat_map(|decade| steps.iter().map(move |step| step * 10_u64.pow(decade)));
    let mut from_ns = 0;
    for to_ns in edges.chain([u64::MAX]) {
        if to_ns > min && from_ns <= max {
            let inside = std::iter::from_fn(|| latencies.next_if(|(latency, _)| *latency < to_ns));
            buckets.push(Bucket { from_ns, to_ns, count: inside.map(|(_, count)| count).sum() });
        }
        from_ns = to_ns;
    }
    buckets
}

/// Formats a line for each bucket. No line is wider than `columns`, unless the bars would become too short.
pub(super) fn render(buckets: &[Bucket], columns: usize) -> String {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default();
    let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let count_columns = grouped(most).len();
    let mut text = String::new();
    for bucket in buckets {
        let edge = |nanos| format!("{:?}", Duration::from_nanos(nanos));
        let label = format!(
            "  {:>6} - {:<6}  {:>count_columns$}  {:>5.1}%  ",
            edge(bucket.from_ns),
            edge(bucket.to_ns),
            grouped(bucket.count),
            percentage(bucket.count, total),
        );
        let bar_columns = columns.saturating_sub(label.chars().count()).max(MIN_BAR_COLUMNS);
        let line = label + &bar(bucket.count, most, bar_columns);
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
fn percentage(count: u64, total: u64) -> f64 {
    100.0 * count as f64 / total.max(1) as f64
}

/// Returns a bar of `count / most` of `columns`, to an eighth of a column. A count above zero has a visible bar.
fn bar(count: u64, most: u64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(count) * columns as u128 * 8 / u128::from(most.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).max(usize::from(count > 0));
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn latencies_of_two_decades_have_fine_buckets() {
        let buckets = buckets(&[(12_000, 1), (15_000, 4), (29_999, 2), (40_000, 1)]);
        let counts: Vec<_> = buckets.iter().map(|bucket| (bucket.from_ns, bucket.count)).collect();
        assert_eq!(counts, [(10_000, 1), (15_000, 4), (20_000, 2), (30_000, 1)]);
    }

    #[test]
    fn an_outlier_makes_the_buckets_coarse() {
        let buckets = buckets(&[(12_000, 1_000_000), (5_000_000_000, 1)]);
        assert_eq!(buckets.len(), 18);
        assert_eq!((buckets[0].from_ns, buckets[0].to_ns), (10_000, 20_000));
        assert_eq!((buckets[17].from_ns, buckets[17].to_ns), (5_000_000_000, 10_000_000_000));
    }

    #[test]
    fn no_latencies_give_no_buckets_and_no_text() {
        assert_eq!(buckets(&[]), []);
        assert_eq!(render(&[], 80), "");
    }

    #[test]
    fn the_fullest_bucket_fills_the_line_and_a_single_latency_is_visible() {
        let buckets = [
            Bucket { from_ns: 10_000, to_ns: 15_000, count: 12_000 },
            Bucket { from_ns: 15_000, to_ns: 20_000, count: 6_000 },
            Bucket { from_ns: 20_000, to_ns: 30_000, count: 0 },
            Bucket { from_ns: 1_500_000, to_ns: 2_000_000, count: 1 },
        ];
        let expected = "    10µs - 15µs    12,000   66.7%  ██████████
    15µs - 20µs     6,000   33.3%  █████
    20µs - 30µs         0    0.0%
   1.5ms - 2ms          1    0.0%  ▏
";
        assert_eq!(render(&buckets, 45), expected);
    }

    #[test]
    fn a_narrow_terminal_gets_bars() {
        let buckets = [Bucket { from_ns: 0, to_ns: 10, count: 1 }];
        assert!(render(&buckets, 1).ends_with("████████\n"));
    }

    proptest! {
        #[test]
        fn every_latency_is_in_its_bucket(mut latencies in prop::collection::vec((any::<u64>(), 0_u64..1 << 40), 1..50)) {
            latencies.sort_unstable();
            let buckets = buckets(&latencies);
            prop_assert!(buckets.windows(2).all(|pair| pair[0].to_ns == pair[1].from_ns));
            for bucket in &buckets {
                // Nothing is above the last one.
                let inside = |at: u64| (bucket.from_ns..bucket.to_ns).contains(&at);
                let count: u64 = latencies.iter().filter(|(at, _)| inside(*at)).map(|(_, count)| count).sum();
                prop_assert_eq!(bucket.count, count);
            }
            prop_assert!(buckets.len() <= 60);
        }
    }
}
