//! Figures with their units.

use crate::amount::amount;
use crate::wire::grouped;
use running_process::broker::protocol::ServerStatus;
use std::time::Duration;

/// Formats a latency to one digit.
pub(super) fn latency(latency: Option<Duration>) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| format!("{latency:.1?}"))
}

/// Formats a rate without digits behind the point.
pub(super) fn whole(rate: f64) -> String {
    grouped(format_args!("{rate:.0}"))
}

/// Formats the memory of a server's buffers and requests.
#[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
pub(super) fn memory(status: &ServerStatus) -> String {
    amount(status.memory_bytes as f64)
}
