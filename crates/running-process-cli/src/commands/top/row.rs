//! A status as a row of a table that grows.

use super::interval::Interval;
use super::units::{latency, memory, whole};
use running_process::broker::protocol::ServerStatus;
use std::fmt::Write as _;

/// The columns of the table and their widths.
const COLUMNS: [(&str, usize); 10] = [
    ("conns", 6),
    ("req/s", 10),
    ("flight", 7),
    ("p50", 9),
    ("p90", 9),
    ("p99", 9),
    ("max", 9),
    ("refused", 8),
    ("limits", 7),
    ("buffers", 9),
];

/// Returns the titles of the columns as a row.
pub(super) fn titles() -> String {
    row(&COLUMNS.map(|(name, _)| name.to_owned()))
}

/// Returns a status and its difference to the one before as a row.
pub(super) fn of(status: &ServerStatus, interval: &Interval) -> String {
    let [p50, p90, p99, max] = interval.latencies().map(|(_, found)| latency(found));
    row(&[
        status.connections_open.to_string(),
        whole(interval.rate(interval.answered)),
        status.requests_in_flight.to_string(),
        p50,
        p90,
        p99,
        max,
        interval.refused.to_string(),
        interval.limits_hit.to_string(),
        memory(status),
    ])
}

fn row(cells: &[String; COLUMNS.len()]) -> String {
    let mut row = String::new();
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        let _infallible = write!(row, "{cell:>width$}");
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_idle_server_has_no_latencies() {
        let nothing = ServerStatus::default();
        let interval = Interval::between(&nothing, &nothing, Duration::ZERO);
        let expected = "     0         0      0        -        -        -        -       0      0      0 B";
        assert_eq!(of(&nothing, &interval), expected);
    }
}
