use crate::broker::backend_lifecycle::probe::DEFAULT_PROBE_TIMEOUT;
use crate::broker::backend_lifecycle::verify::Policy;
use crate::broker::protocol::EncodingPolicy;
use std::time::Duration;

/// How a [`ReconnectingClient`](super::ReconnectingClient) reconnects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reconnect {
    /// What a daemon has to prove, each time.
    pub policy: Policy,
    /// The encodings of payloads on each connection, as for [`AsyncFrameClient`](super::AsyncFrameClient).
    pub encodings: EncodingPolicy,
    /// How often it is tried at most before those who wait are told. Default: 10; 0 is as 1.
    pub attempts: u32,
    /// How long one attempt may take. Default: [`DEFAULT_PROBE_TIMEOUT`].
    pub attempt_timeout: Duration,
    /// The pause after the first attempt; it doubles with each further one. Default: 50 ms.
    ///
    /// Of each pause between half and all is waited, at random, so that the clients of a daemon that ended do not come back
    /// all at once.
    pub first_pause: Duration,
    /// The longest pause. Default: 2 s.
    pub longest_pause: Duration,
    /// No attempt begins later than this after the first. Default: 30 s.
    pub within: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            encodings: EncodingPolicy::default(),
            attempts: 10,
            attempt_timeout: DEFAULT_PROBE_TIMEOUT,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            within: Duration::from_secs(30),
        }
    }
}

impl Reconnect {
    /// The pause after the attempt number `attempt`, counted from 1. `random` decides on its second half.
    pub(super) fn pause(&self, attempt: u32, random: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let whole = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        let half = whole / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_at_least_their_half() {
        let reconnect = Reconnect::default();
        for (attempt, whole) in [(1, 50), (2, 100), (3, 200), (6, 1600), (7, 2000), (u32::MAX, 2000)] {
            let whole = Duration::from_millis(whole);
            assert_eq!(reconnect.pause(attempt, 0), whole / 2, "{attempt}");
            assert_eq!(reconnect.pause(attempt, u32::MAX), whole, "{attempt}");
            let between = reconnect.pause(attempt, u32::MAX / 2);
            assert!(whole / 2 < between && between < whole, "{attempt}");
        }
    }
}
