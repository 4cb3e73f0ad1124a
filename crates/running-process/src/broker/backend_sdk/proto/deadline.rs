//! Optional deadlines; `None` is never.

use std::time::Instant;

/// Returns the earlier of two deadlines; `None` is never.
pub(crate) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}
