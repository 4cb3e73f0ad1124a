//! The pause after starts that failed: a pure function of their number.

use std::time::Duration;

/// Failures in a row that cost nothing: the cause may be gone at once.
const FREE_FAILURES: u32 = 2;
/// The first pause, doubled after each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A daemon that crashes sooner than this after its start counts as a failed start.
pub(super) const SETTLED_AFTER: Duration = Duration::from_mins(1);

/// Returns the time for which nothing is started after so many `failures` in a row.
pub(super) fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(FREE_FAILURES + 1) else { return Duration::ZERO };
    // 2^6 seconds are more than the longest pause.
    FIRST_PAUSE.saturating_mul(1 << doublings.min(6)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_from_the_third_failure_on_up_to_a_minute() {
        let seconds: Vec<_> = (0..12).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
