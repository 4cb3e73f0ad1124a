use crate::broker::backend_lifecycle::probe::DEFAULT_PROBE_TIMEOUT;
use crate::broker::backend_lifecycle::verify::Policy;
use crate::broker::protocol::EncodingPolicy;
use std::time::Duration;

/// The way in which a [`ReconnectingClient`](super::ReconnectingClient) reconnects.
///
/// ```
/// use running_process::broker::backend_sdk::ReconnectConfig;
/// use std::time::Duration;
///
/// let config = ReconnectConfig::default().max_attempts(5).max_backoff(Duration::from_millis(500));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReconnectConfig {
    /// The proof that is asked of a daemon, each time.
    pub policy: Policy,
    /// The encodings of payloads on each connection.
    pub encodings: EncodingPolicy,
    /// The most attempts to connect before the callers get an error. Default: 10; 0 is as 1.
    pub max_attempts: u32,
    /// The longest time of one attempt. Default: [`DEFAULT_PROBE_TIMEOUT`].
    pub attempt_timeout: Duration,
    /// The pause after the first attempt. It doubles with each further one. Default: 50 ms.
    ///
    /// A random part of each pause is left out, at most half of it, so that the clients of a daemon that ended do not come back all at
    /// once.
    pub initial_backoff: Duration,
    /// The longest pause. Default: 2 s.
    pub max_backoff: Duration,
    /// The time after the first attempt in which another one may begin. Default: 30 s.
    pub retry_timeout: Duration,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            encodings: EncodingPolicy::default(),
            max_attempts: 10,
            attempt_timeout: DEFAULT_PROBE_TIMEOUT,
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            retry_timeout: Duration::from_secs(30),
        }
    }
}

/// Sets one field each.
impl ReconnectConfig {
    /// Sets the proof that is asked of a daemon.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Sets the encodings of payloads.
    #[must_use]
    pub fn encodings(self, encodings: EncodingPolicy) -> Self {
        Self { encodings, ..self }
    }

    /// Sets the most attempts to connect.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets the longest time of one attempt.
    #[must_use]
    pub fn attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// Sets the pause after the first attempt.
    #[must_use]
    pub fn initial_backoff(self, initial_backoff: Duration) -> Self {
        Self { initial_backoff, ..self }
    }

    /// Sets the longest pause.
    #[must_use]
    pub fn max_backoff(self, max_backoff: Duration) -> Self {
        Self { max_backoff, ..self }
    }

    /// Sets the time in which attempts may begin.
    #[must_use]
    pub fn retry_timeout(self, retry_timeout: Duration) -> Self {
        Self { retry_timeout, ..self }
    }
}

impl ReconnectConfig {
    /// Returns the pause after the attempt number `attempt`, counted from 1. `random` decides on its second half.
    pub(super) fn backoff(&self, attempt: u32, random: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let whole = self.initial_backoff.saturating_mul(doubled).min(self.max_backoff);
        let half = whole / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_at_least_their_half() {
        let config = ReconnectConfig::default();
        for (attempt, whole) in [(1, 50), (2, 100), (3, 200), (6, 1600), (7, 2000), (u32::MAX, 2000)] {
            let whole = Duration::from_millis(whole);
            assert_eq!(config.backoff(attempt, 0), whole / 2, "{attempt}");
            assert_eq!(config.backoff(attempt, u32::MAX), whole, "{attempt}");
            let between = config.backoff(attempt, u32::MAX / 2);
            assert!(whole / 2 < between && between < whole, "{attempt}");
        }
    }
}
