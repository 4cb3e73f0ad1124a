use std::time::{Duration, Instant};

/// A deadline for everything that one call does, or none.
///
/// It does not count the time for which the machine sleeps, on Linux, macOS and FreeBSD; Windows counts it.
///
/// ```
/// use running_process::broker::service::Deadline;
/// use std::time::Duration;
///
/// let deadline = Deadline::after(Duration::from_secs(10));
/// assert!(!deadline.has_passed() && deadline.left() <= Some(Duration::from_secs(10)));
/// assert_eq!(Deadline::never().left(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Returns the deadline `time` from now. A time beyond the system's clock is no deadline.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    /// Returns no deadline: the call ends when it is done.
    #[must_use]
    pub const fn never() -> Self {
        Self(None)
    }

    /// Returns the moment of the deadline; `None` if there is none.
    #[must_use]
    pub const fn instant(self) -> Option<Instant> {
        self.0
    }

    /// Returns the time that is left; `None` without a deadline.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Returns whether the deadline has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Returns the earlier of two deadlines.
    pub(super) fn earlier(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(other)) => Self(Some(one.min(other))),
            (one, other) => Self(one.or(other)),
        }
    }

    /// Returns the earlier of this deadline and the moment `time` from now.
    pub(super) fn within(self, time: Duration) -> Instant {
        let now = Instant::now();
        let limit = now.checked_add(time).unwrap_or(now);
        self.0.map_or(limit, |at| at.min(limit))
    }
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Self(Some(at))
    }
}
