//! Legacy detectors. Each is consistent: more bytes do not change a decision.

use super::Detector;
use proptest::prelude::*;
use running_process::broker::backend_sdk::LegacyClassification::{self, Legacy, NeedMoreBytes, NotLegacy};

/// Returns `NotLegacy`, for a daemon without a legacy wire.
pub(crate) fn never(_: &[u8]) -> LegacyClassification {
    NotLegacy
}

/// Returns `NeedMoreBytes`, always.
pub(crate) fn undecided(_: &[u8]) -> LegacyClassification {
    NeedMoreBytes
}

/// Detects a text wire whose messages start with an asterisk.
pub(crate) fn asterisk(bytes: &[u8]) -> LegacyClassification {
    if bytes.starts_with(b"*") { Legacy } else { NotLegacy }
}

/// Detects a binary wire whose header is a little-endian length and the version 1, four bytes each. A length such as
/// 257 starts with the framing byte, so all eight bytes are needed.
pub(crate) fn length_and_version(bytes: &[u8]) -> LegacyClassification {
    match bytes.get(4..8) {
        None => NeedMoreBytes,
        Some([1, 0, 0, 0]) => Legacy,
        Some(_) => NotLegacy,
    }
}

/// Detects a binary wire that starts with the framing byte and 42, as a frame with a body of 42 bytes does.
pub(crate) fn one_and_42(bytes: &[u8]) -> LegacyClassification {
    match *bytes {
        [1, 42, ..] => Legacy,
        [1] => NeedMoreBytes,
        _ => NotLegacy,
    }
}

/// Detects a wire whose first message is 32 bytes and ends with `!`.
pub(crate) fn thirty_two(bytes: &[u8]) -> LegacyClassification {
    match bytes.get(31) {
        None => NeedMoreBytes,
        Some(b'!') => Legacy,
        Some(_) => NotLegacy,
    }
}

pub(crate) fn any_detector() -> impl Strategy<Value = Detector> {
    prop::sample::select(vec![
        never as Detector,
        undecided,
        asterisk,
        length_and_version,
        one_and_42,
        thirty_two,
    ])
}
