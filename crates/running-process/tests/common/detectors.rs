//! Legacy detectors. Each is consistent: once it has decided, more bytes do not change its mind.

use super::Detector;
use proptest::prelude::*;
use running_process::broker::backend_sdk::LegacyClassification::{self, Legacy, NeedMoreBytes, NotLegacy};

/// A daemon without a legacy wire.
pub(crate) fn never(_: &[u8]) -> LegacyClassification {
    NotLegacy
}

/// A detector that never decides.
pub(crate) fn undecided(_: &[u8]) -> LegacyClassification {
    NeedMoreBytes
}

/// A text wire whose messages start with an asterisk.
pub(crate) fn asterisk(bytes: &[u8]) -> LegacyClassification {
    if bytes.starts_with(b"*") { Legacy } else { NotLegacy }
}

/// A binary wire whose header is a little-endian length and the version 1, four bytes each. A length such as 257 has
/// the framing byte in front, so all eight are needed.
pub(crate) fn length_and_version(bytes: &[u8]) -> LegacyClassification {
    match bytes.get(4..8) {
        None => NeedMoreBytes,
        Some([1, 0, 0, 0]) => Legacy,
        Some(_) => NotLegacy,
    }
}

/// A binary wire that starts with the framing byte and 42: so does a frame whose body is 42 bytes.
pub(crate) fn one_and_42(bytes: &[u8]) -> LegacyClassification {
    match *bytes {
        [1, 42, ..] => Legacy,
        [1] => NeedMoreBytes,
        _ => NotLegacy,
    }
}

/// A wire whose first message is 32 bytes and ends with `!`.
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
