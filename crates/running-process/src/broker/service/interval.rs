//! The interval between two looks where nothing wakes the process that waits.

use std::time::Duration;

/// The interval between two looks where the system reports no event: each is twice as long as the last one, up to 50 ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval(Duration);

impl Interval {
    const LONGEST: Duration = Duration::from_millis(50);

    /// Returns the interval that begins with `first`.
    pub(super) const fn from(first: Duration) -> Self {
        Self(first)
    }

    /// Returns the time until the next look.
    pub(super) fn next(&mut self) -> Duration {
        let interval = self.0;
        self.0 = (interval * 2).min(Self::LONGEST);
        interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_doubles_up_to_the_longest() {
        let mut interval = Interval::from(Duration::from_millis(20));
        assert_eq!([(); 4].map(|()| interval.next().as_millis()), [20, 40, 50, 50]);
    }
}
