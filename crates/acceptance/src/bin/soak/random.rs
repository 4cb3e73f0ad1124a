//! Random numbers that a seed repeats.

use std::ops::Range;
use std::time::Duration;

/// Advances a state, and returns its number (`SplitMix64`).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A stream of numbers.
pub(crate) struct Random(u64);

impl Random {
    /// Returns the stream of `name` in a run with this seed.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mut state = seed;
        for byte in name.bytes() {
            state = next(&mut state) ^ u64::from(byte);
        }
        Self(state)
    }

    /// Returns a number of the range.
    pub(crate) fn of(&mut self, range: Range<u64>) -> u64 {
        range.start + next(&mut self.0) % (range.end - range.start)
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.of(0..length as u64)).unwrap()
    }

    /// Returns `true` once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.of(0..times) == 0
    }

    /// Returns between a half and one and a half of `time`.
    pub(crate) fn about(&mut self, time: Duration) -> Duration {
        let thousandths = u32::try_from(self.of(500..1500)).unwrap();
        time * thousandths / 1000
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| next(&mut self.0).to_le_bytes()[0]).collect()
    }
}
