//! Deadlines, of which there may be none.

use std::time::Instant;

/// The first of two deadlines, of which there may be none.
pub(crate) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}
