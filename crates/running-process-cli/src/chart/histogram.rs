//! Latencies in buckets on a logarithmic scale, and their bars.

use super::Glyphs;
use crate::text::columns;
use crate::wire::grouped;
use serde::Serialize;
use std::time::Duration;

/// Edges of buckets, from fine to coarse: those of one decade in tenths, and the number of decades until they repeat.
const SCALES: [(&[u64], usize); 6] =
    [(&[10, 15, 20, 30, 50, 70], 1), (&[10, 20, 50], 1), (&[10, 30], 1), (&[10], 1), (&[10], 2), (&[10], 4)];

/// Number of buckets that `load` prints at most: those of three decades if they are fine.
pub(crate) const MOST_BUCKETS: usize = 19;

/// Last decade with edges: its last edge, 10^17 ns, is three years.
const LAST_DECADE: u32 = 16;

/// Columns of the longest bar on a narrow terminal. With more, 40 columns had no room for a line with a large count.
const MIN_BAR_COLUMNS: usize = 2;

/// The number of latencies in `from_ns..to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bucket {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) count: u64,
}

/// Puts latencies in nanoseconds and their counts, in ascending order, into adjacent buckets.
///
/// The buckets are as fine as possible if there are to be at most `most`.
pub(crate) fn buckets(latencies: &[(u64, u64)], most: usize) -> Vec<Bucket> {
    let scaled = SCALES.into_iter().map(|(steps, decades)| on_scale(latencies, steps, decades));
    let mut coarsest = Vec::new();
    for buckets in scaled {
        coarsest = buckets;
        if coarsest.len() <= most {
            break;
        }
    }
    coarsest
}

fn on_scale(latencies: &[(u64, u64)], steps: &[u64], decades: usize) -> Vec<Bucket> {
    let (Some(&(min, _)), Some(&(max, _))) = (latencies.first(), latencies.last()) else { return Vec::new() };
    let mut latencies = latencies.iter().peekable();
    let mut buckets = Vec::new();
    let decades = (0..=LAST_DECADE).step_by(decades);
    let edges = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_u64.pow(decade)));
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

/// Draws a line for each bucket. No line is wider than `width`, unless the bars would become too short.
pub(crate) fn histogram(buckets: &[Bucket], width: usize, glyphs: Glyphs) -> Vec<String> {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default();
    let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let count_columns = grouped(most).len();
    let line = |bucket: &Bucket| {
        let edge = |nanos| format!("{:?}", Duration::from_nanos(nanos));
        let label = format!(
            "  {:>6} - {:<6}  {:>count_columns$}  {:>5.1}%  ",
            edge(bucket.from_ns),
            edge(bucket.to_ns),
            grouped(bucket.count),
            percentage(bucket.count, total),
        );
        let bar_columns = width.saturating_sub(columns(&label)).max(MIN_BAR_COLUMNS);
        let line = label + &glyphs.bar(bucket.count, most, bar_columns);
        glyphs.spell(line.trim_end().to_owned())
    };
    buckets.iter().map(line).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
fn percentage(count: u64, total: u64) -> f64 {
    100.0 * count as f64 / total.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn latencies_of_two_decades_have_fine_buckets() {
        let buckets = buckets(&[(12_000, 1), (15_000, 4), (29_999, 2), (40_000, 1)], MOST_BUCKETS);
        let counts: Vec<_> = buckets.iter().map(|bucket| (bucket.from_ns, bucket.count)).collect();
        assert_eq!(counts, [(10_000, 1), (15_000, 4), (20_000, 2), (30_000, 1)]);
    }

    #[test]
    fn an_outlier_makes_the_buckets_coarse() {
        let buckets = buckets(&[(12_000, 1_000_000), (5_000_000_000, 1)], MOST_BUCKETS);
        assert_eq!(buckets.len(), 18);
        assert_eq!((buckets[0].from_ns, buckets[0].to_ns), (10_000, 20_000));
        assert_eq!((buckets[17].from_ns, buckets[17].to_ns), (5_000_000_000, 10_000_000_000));
    }

    #[test]
    fn few_rows_get_coarse_buckets() {
        let latencies = [(12_000, 1), (5_000_000, 2)];
        let lengths = [40, 19, 10, 8, 6, 4, 3, 2, 1].map(|most| buckets(&latencies, most).len());
        assert_eq!(lengths, [17, 17, 9, 6, 6, 3, 3, 2, 2]);
    }

    #[test]
    fn no_latencies_give_no_buckets_and_no_lines() {
        assert_eq!(buckets(&[], MOST_BUCKETS), []);
        assert!(histogram(&[], 80, Glyphs::Blocks).is_empty());
    }

    #[test]
    fn the_fullest_bucket_fills_the_line_and_a_single_latency_is_visible() {
        let buckets = [
            Bucket { from_ns: 10_000, to_ns: 15_000, count: 12_000 },
            Bucket { from_ns: 15_000, to_ns: 20_000, count: 6_000 },
            Bucket { from_ns: 20_000, to_ns: 30_000, count: 0 },
            Bucket { from_ns: 1_500_000, to_ns: 2_000_000, count: 1 },
        ];
        let blocks = [
            "    10µs - 15µs    12,000   66.7%  ██████████",
            "    15µs - 20µs     6,000   33.3%  █████",
            "    20µs - 30µs         0    0.0%",
            "   1.5ms - 2ms          1    0.0%  ▏",
        ];
        assert_eq!(histogram(&buckets, 45, Glyphs::Blocks), blocks);
        let ascii = histogram(&buckets, 45, Glyphs::Ascii);
        assert_eq!(ascii[1], "    15us - 20us     6,000   33.3%  #####");
    }

    #[test]
    fn a_narrow_terminal_gets_bars() {
        for count in [1, 1_164, 9_999_999] {
            let buckets = [Bucket { from_ns: 100_000, to_ns: 150_000, count }];
            let [line] = &histogram(&buckets, 40, Glyphs::Blocks)[..] else { panic!("one bucket") };
            assert!(columns(line) == 40 && line.ends_with("██"), "{line}");
            assert!(histogram(&buckets, 1, Glyphs::Blocks)[0].ends_with(" ██"));
        }
    }

    proptest! {
        #[test]
        fn every_latency_is_in_its_bucket(mut latencies in prop::collection::vec((any::<u64>(), 0_u64..1 << 40), 1..50), most in 0_usize..70) {
            latencies.sort_unstable();
            let buckets = buckets(&latencies, most);
            prop_assert!(buckets.windows(2).all(|pair| pair[0].to_ns == pair[1].from_ns));
            for bucket in &buckets {
                // Nothing is above the last one.
                let inside = |at: u64| (bucket.from_ns..bucket.to_ns).contains(&at);
                let count: u64 = latencies.iter().filter(|(at, _)| inside(*at)).map(|(_, count)| count).sum();
                prop_assert_eq!(bucket.count, count);
            }
            prop_assert!(buckets.len() <= most.max(6));
        }
    }
}
