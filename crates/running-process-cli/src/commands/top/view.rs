//! A status as people and programs read it.

use super::Interval;
use crate::failure::Failure;
use crate::output::Output;
use crate::wire::grouped;
use anstyle::{AnsiColor, Style};
use running_process::broker::protocol::ServerStatus;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::Duration;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// How many rows follow each header of the table.
const ROWS: usize = 20;

/// A line that is too long is cut, so that each takes one row, or is continued on the next row again.
const NO_WRAP: &[u8] = b"\x1b[?7l";
const WRAP: &[u8] = b"\x1b[?7h";

/// The columns of the table and how wide they are.
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
    ("memory", 9),
];

/// Where statuses are shown: a screen that is drawn over, a table that grows, or objects for programs.
pub(super) struct View {
    title: String,
    is_screen: bool,
    /// How many were shown.
    shown: usize,
}

impl View {
    pub(super) fn new(title: String, output: &Output) -> Self {
        Self { title, is_screen: io::stdout().is_terminal() && !output.is_json(), shown: 0 }
    }

    pub(super) fn show(
        &mut self,
        status: &ServerStatus,
        interval: &Interval,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if output.is_json() {
            output.object(object(status, interval))?;
        } else if self.is_screen {
            let screen = screen(&self.title, status, interval);
            if self.shown > 0 {
                // Up to where the last one began, and away with it.
                output.bytes(format!("\x1b[{}A\x1b[J", screen.lines().count()).as_bytes())?;
            }
            output.bytes(NO_WRAP)?;
            output.line(screen.trim_end())?;
            output.bytes(WRAP)?;
        } else {
            if self.shown.is_multiple_of(ROWS) {
                output
                    .line(format_args!("{BOLD}{}{BOLD:#}", row(&COLUMNS.map(|(name, _)| name.to_owned()))))?;
            }
            output.line(row(&cells(status, interval)))?;
        }
        self.shown += 1;
        Ok(())
    }
}

/// The same number of lines each time.
fn screen(title: &str, status: &ServerStatus, interval: &Interval) -> String {
    let warned = |count: u64| if count > 0 { RED } else { Style::new() };
    let (limits, troubles) = (warned(interval.limits_hit), warned(interval.troubles));
    let latencies =
        interval.latencies().map(|(name, latency)| format!("{name} {:<9}", shown(latency))).join(" ");
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime().as_secs()));
    let mut text = format!("{title}, up {uptime}\n");
    let mut line = |name: &str, figures: String| {
        let _infallible = writeln!(text, "{BOLD}{name:<13}{BOLD:#}{}", figures.trim_end());
    };
    line(
        "requests",
        format!(
            "{}/s, {} in flight, {} refused, {} cancelled",
            whole(interval.rate(interval.answered)),
            grouped(status.requests_in_flight),
            grouped(interval.refused),
            grouped(interval.cancelled),
        ),
    );
    line("latency", latencies);
    line(
        "connections",
        format!(
            "{} open, {} accepted, {troubles}{} in trouble{troubles:#}",
            grouped(status.connections_open),
            grouped(status.connections_accepted),
            grouped(interval.troubles),
        ),
    );
    line(
        "traffic",
        format!(
            "{}/s in, {}/s out",
            amount(interval.rate(interval.bytes_received)),
            amount(interval.rate(interval.bytes_sent)),
        ),
    );
    line("memory", memory(status));
    line(
        "limits hit",
        format!(
            "{limits}{}{limits:#}, {} in all",
            grouped(interval.limits_hit),
            grouped(status.limits_hit())
        ),
    );
    text
}

fn row(cells: &[String; COLUMNS.len()]) -> String {
    let mut row = String::new();
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        let _infallible = write!(row, "{cell:>width$}");
    }
    row
}

fn cells(status: &ServerStatus, interval: &Interval) -> [String; COLUMNS.len()] {
    let [p50, p90, p99, max] = interval.latencies().map(|(_, latency)| shown(latency));
    [
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
    ]
}

fn object(status: &ServerStatus, interval: &Interval) -> Value {
    let nanos = |latency: Duration| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let latencies = interval.latencies().map(|(name, latency)| (name.to_owned(), latency.map(nanos).into()));
    json!({
        "uptime_ms": status.uptime_ms,
        "elapsed_s": interval.seconds,
        "requests_per_second": interval.rate(interval.answered),
        "interval": {
            "requests_received": interval.received,
            "requests_answered": interval.answered,
            "requests_refused": interval.refused,
            "requests_cancelled": interval.cancelled,
            "bytes_received": interval.bytes_received,
            "bytes_sent": interval.bytes_sent,
            "limits_hit": interval.limits_hit,
            "connection_troubles": interval.troubles,
            "latency_ns": Value::Object(latencies.into_iter().collect()),
        },
        "connections_open": status.connections_open,
        "connections_accepted": status.connections_accepted,
        "connection_troubles": status.connection_troubles,
        "probes_answered": status.probes_answered,
        "requests_received": status.requests_received,
        "requests_answered": status.requests_answered,
        "requests_refused": status.refused_in_all(),
        "requests_cancelled": status.requests_cancelled,
        "requests_in_flight": status.requests_in_flight,
        "events_sent": status.events_sent,
        "bytes_received": status.bytes_received,
        "bytes_sent": status.bytes_sent,
        "memory_bytes": status.memory_bytes,
        "callbacks_panicked": status.callbacks_panicked,
        "limits_hit": {
            "connections": status.connections_refused,
            "in_flight": status.in_flight_limit_hit,
            "memory": status.memory_limit_hit,
            "first_message": status.first_message_limit_hit,
            "first_message_deadline": status.first_message_deadline_hit,
            "message_deadline": status.message_deadline_hit,
            "probed_deadline": status.probed_deadline_hit,
            "idle_deadline": status.idle_deadline_hit,
            "write_deadline": status.write_deadline_hit,
        },
    })
}

fn shown(latency: Option<Duration>) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| format!("{latency:.1?}"))
}

fn whole(rate: f64) -> String {
    grouped(format_args!("{rate:.0}"))
}

#[expect(clippy::cast_precision_loss, reason = "shown to one digit")]
fn memory(status: &ServerStatus) -> String {
    amount(status.memory_bytes as f64)
}

fn amount(bytes: f64) -> String {
    match bytes {
        ..999.5 => format!("{bytes:.0} B"),
        ..999_950.0 => format!("{:.1} kB", bytes / 1e3),
        ..999_950_000.0 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_a_unit_that_fits() {
        let shown = [0.0, 999.0, 1000.0, 16_384.0, 268_435_456.0, 5e12].map(amount);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "16.4 kB", "268.4 MB", "5000.0 GB"]);
    }

    #[test]
    fn a_server_that_has_done_nothing_is_shown_without_latencies() {
        let nothing = ServerStatus::default();
        let interval = Interval::between(&nothing, &nothing, Duration::ZERO);
        let expected = "     0         0      0        -        -        -        -       0      0      0 B";
        assert_eq!(row(&cells(&nothing, &interval)), expected);
        let screen = anstream::adapter::strip_str(&screen("process 7", &nothing, &interval)).to_string();
        let expected = "process 7, up 0s
requests     0/s, 0 in flight, 0 refused, 0 cancelled
latency      p50 -         p90 -         p99 -         max -
connections  0 open, 0 accepted, 0 in trouble
traffic      0 B/s in, 0 B/s out
memory       0 B
limits hit   0, 0 in all
";
        assert_eq!(screen, expected);
    }
}
