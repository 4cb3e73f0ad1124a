//! The times at which the requests of an open loop are due.

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A fixed number of requests per second, the first one at once. The times are exact and do not drift.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// At least 1.
    pub(super) per_second: u32,
}

impl Schedule {
    /// Returns the time at which the request with this number, counted from 0, is due.
    pub(super) fn due_at(self, request: u64) -> Duration {
        let nanos = u128::from(request) * NANOS_PER_SECOND / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns the number of requests that are due after `elapsed`.
    pub(super) fn due_by(self, elapsed: Duration) -> u64 {
        let due = ((elapsed.as_nanos() + 1) * u128::from(self.per_second)).div_ceil(NANOS_PER_SECOND);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// Returns the number of requests that are due before `end`.
    pub(super) fn due_before(self, end: Duration) -> u64 {
        end.checked_sub(Duration::from_nanos(1)).map_or(0, |last| self.due_by(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_due_at_even_distances() {
        let schedule = Schedule { per_second: 4 };
        let due: Vec<u128> = (0..5).map(|request| schedule.due_at(request).as_millis()).collect();
        assert_eq!(due, [0, 250, 500, 750, 1000]);
        assert_eq!(schedule.due_by(Duration::ZERO), 1);
        assert_eq!(schedule.due_by(Duration::from_millis(249)), 1);
        assert_eq!(schedule.due_by(Duration::from_millis(250)), 2);
        assert_eq!(schedule.due_before(Duration::from_secs(1)), 4);
        assert_eq!(schedule.due_before(Duration::ZERO), 0);
    }

    #[test]
    fn a_year_of_thirds_does_not_drift() {
        let year = 365 * 24 * 3600;
        assert_eq!(Schedule { per_second: 3 }.due_at(3 * year), Duration::from_secs(year));
    }

    proptest! {
        #[test]
        fn a_request_is_due_at_its_time_and_not_before(
            per_second in 1_u32..10_000_000, request in 0_u64..1 << 40,
        ) {
            let schedule = Schedule { per_second };
            let due = schedule.due_at(request);
            prop_assert!(schedule.due_by(due) > request);
            if let Some(before) = due.checked_sub(Duration::from_nanos(1)) {
                prop_assert!(schedule.due_by(before) <= request);
            }
        }
    }
}
