//! The times of requests, with and without a replacement meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One request that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The kind of the client.
    pub(super) kind: &'static str,
    pub(super) number: u64,
    /// The process that answered.
    pub(super) pid: u32,
    pub(super) began: Instant,
    /// The time that it took, without that which it asked for.
    pub(super) took: Duration,
}

/// Prints the times of each kind of client, of the requests that met one of the `replacements` and of the others. Returns the longest
/// time that a replacement made any of them wait.
pub(super) fn print(asked: &[Asked], replacements: &[(Instant, Instant)]) -> Duration {
    let mut kinds = BTreeMap::<_, [Vec<Duration>; 2]>::new();
    for asked in asked {
        let end = asked.began + asked.took;
        let met = replacements.iter().any(|(from, to)| asked.began <= *to && end >= *from);
        kinds.entry(asked.kind).or_default()[usize::from(met)].push(asked.took);
    }
    println!("{:<24}{:>36}    {:>36}", "", "without a replacement", "during one");
    let mut longest = Duration::ZERO;
    for (kind, mut times) in kinds {
        for times in &mut times {
            times.sort_unstable();
        }
        let [quiet, during] = times.each_ref().map(|times| percentiles(times));
        println!("{kind:<24}{quiet:>36}    {during:>36}");
        longest = times[1].last().copied().unwrap_or_default().max(longest);
    }
    println!("the longest request during a replacement took {longest:?}");
    longest
}

fn percentiles(sorted: &[Duration]) -> String {
    let Some(last) = sorted.len().checked_sub(1) else { return "none".to_owned() };
    let [median, high, max] =
        [last / 2, last * 99 / 100, last].map(|index| sorted[index].as_secs_f64() * 1e3);
    format!("{} p50 {median:.1} p99 {high:.1} max {max:.1} ms", sorted.len())
}
