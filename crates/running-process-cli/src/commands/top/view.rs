//! Shows statuses as text and as JSON.

use super::interval::Interval;
use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::DEFAULT_COLUMNS;
use crate::text::{columns, cut};
use crate::wire::grouped;
use anstyle::{AnsiColor, Style};
use running_process::broker::protocol::ServerStatus;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// Number of rows between two headers of the table.
const ROWS_PER_HEADER: usize = 20;

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
    ("memory", 9),
];

/// The view of a status: a screen that is redrawn, a table that grows, or JSON.
pub(super) struct View {
    title: String,
    /// Number of rows printed so far.
    shown: usize,
    drawn: Option<Drawn>,
}

/// The lines drawn above the cursor.
struct Drawn {
    lines: usize,
    /// Size of the terminal when they were drawn.
    size: Option<(usize, usize)>,
}

impl View {
    /// Creates a view; `title` has gone through [`safe`](crate::text::safe).
    pub(super) fn new(title: String) -> Self {
        Self { title, shown: 0, drawn: None }
    }

    /// Shows a status and its difference to the one before.
    pub(super) fn show(
        &mut self,
        status: &ServerStatus,
        interval: &Interval,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if output.is_json() {
            return output.object(object(status, interval));
        }
        if output.is_screen() {
            return self.draw(&figures(&self.title, status, interval), output);
        }
        if self.shown.is_multiple_of(ROWS_PER_HEADER) {
            output.line(format_args!("{BOLD}{}{BOLD:#}", row(&COLUMNS.map(|(name, _)| name.to_owned()))))?;
        }
        self.shown += 1;
        output.line(row(&cells(status, interval)))
    }

    /// Draws over the previous lines. A resized terminal may have moved them, so it is cleared.
    fn draw(&mut self, figures: &[Figures], output: &mut Output) -> Result<(), Failure> {
        let size = output.size();
        let (columns, rows) = size.unwrap_or((DEFAULT_COLUMNS, usize::MAX));
        // The last column and the last row stay empty, since text there moves the cursor on some terminals.
        let mut lines = screen(figures, columns.saturating_sub(1));
        lines.truncate(rows.saturating_sub(1).max(1));
        match &self.drawn {
            None => {}
            Some(drawn) if drawn.size == size => {
                output.verbatim(format!("\x1b[{}A\r\x1b[J", drawn.lines).as_bytes())?;
            }
            Some(_) => output.verbatim(b"\x1b[H\x1b[2J")?,
        }
        self.drawn = Some(Drawn { lines: lines.len(), size });
        output.line(lines.join("\n"))
    }
}

/// A group of figures with an optional name.
struct Figures {
    name: &'static str,
    figures: Vec<(String, Style)>,
}

fn figures(title: &str, status: &ServerStatus, interval: &Interval) -> Vec<Figures> {
    let warned = |count: u64| if count > 0 { RED } else { Style::new() };
    let plain = |figures: Vec<String>| figures.into_iter().map(|figure| (figure, Style::new())).collect();
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime().as_secs()));
    vec![
        Figures { name: "", figures: plain(vec![title.to_owned(), format!("up {uptime}")]) },
        Figures {
            name: "requests",
            figures: plain(vec![
                format!("{}/s", whole(interval.rate(interval.answered))),
                format!("{} in flight", grouped(status.requests_in_flight)),
                format!("{} refused", grouped(interval.refused)),
                format!("{} cancelled", grouped(interval.cancelled)),
            ]),
        },
        Figures {
            name: "latency",
            figures: plain(
                interval.latencies().map(|(name, latency)| format!("{name} {}", shown(latency))).into(),
            ),
        },
        Figures {
            name: "connections",
            figures: vec![
                (format!("{} open", grouped(status.connections_open)), Style::new()),
                (format!("{} accepted", grouped(status.connections_accepted)), Style::new()),
                (format!("{} in trouble", grouped(interval.troubles)), warned(interval.troubles)),
            ],
        },
        Figures {
            name: "traffic",
            figures: plain(vec![
                format!("{}/s in", amount(interval.rate(interval.bytes_received))),
                format!("{}/s out", amount(interval.rate(interval.bytes_sent))),
            ]),
        },
        Figures { name: "memory", figures: plain(vec![memory(status)]) },
        Figures {
            name: "limits hit",
            figures: vec![
                (grouped(interval.limits_hit), warned(interval.limits_hit)),
                (format!("{} in all", grouped(status.limits_hit())), Style::new()),
            ],
        },
    ]
}

/// Formats the figures as lines of at most `width` columns. A figure that does not fit begins a new line.
fn screen(figures: &[Figures], width: usize) -> Vec<String> {
    const NAME_COLUMNS: usize = 13;
    const SEPARATOR: &str = ", ";
    let mut lines = Vec::new();
    for Figures { name, figures } in figures {
        let indent = if name.is_empty() { 0 } else { NAME_COLUMNS.min(width / 2) };
        let continued = indent.max(2.min(width / 2));
        let name = cut(name, indent.saturating_sub(1));
        let mut line = format!("{BOLD}{name}{BOLD:#}{:pad$}", "", pad = indent - columns(&name));
        let mut used = indent;
        for (index, (figure, style)) in figures.iter().enumerate() {
            let figure = cut(figure, width - continued);
            if index > 0 {
                let is_room = used + SEPARATOR.len() + columns(&figure) <= width;
                if is_room {
                    line += SEPARATOR;
                    used += SEPARATOR.len();
                } else {
                    lines.push(std::mem::replace(&mut line, " ".repeat(continued)));
                    used = continued;
                }
            }
            let _infallible = write!(line, "{style}{figure}{style:#}");
            used += columns(&figure);
        }
        lines.push(line);
    }
    lines
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
    fn amounts_have_a_suitable_unit() {
        let shown = [0.0, 999.0, 1000.0, 16_384.0, 268_435_456.0, 5e12].map(amount);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "16.4 kB", "268.4 MB", "5000.0 GB"]);
    }

    #[test]
    fn an_idle_server_is_shown_without_latencies() {
        let nothing = ServerStatus::default();
        let interval = Interval::between(&nothing, &nothing, Duration::ZERO);
        let expected = "     0         0      0        -        -        -        -       0      0      0 B";
        assert_eq!(row(&cells(&nothing, &interval)), expected);
        let figures = figures("process 7", &nothing, &interval);
        let screen = |width| {
            let lines = screen(&figures, width);
            let plain = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string());
            plain.collect::<Vec<_>>().join("\n")
        };
        let wide = "process 7, up 0s
requests     0/s, 0 in flight, 0 refused, 0 cancelled
latency      p50 -, p90 -, p99 -, max -
connections  0 open, 0 accepted, 0 in trouble
traffic      0 B/s in, 0 B/s out
memory       0 B
limits hit   0, 0 in all";
        assert_eq!(screen(80), wide);
        let narrow = "process 7, up 0s
requests     0/s, 0 in flight
             0 refused, 0 cancelled
latency      p50 -, p90 -, p99 -, max -
connections  0 open, 0 accepted
             0 in trouble
traffic      0 B/s in, 0 B/s out
memory       0 B
limits hit   0, 0 in all";
        assert_eq!(screen(39), narrow);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let nothing = ServerStatus::default();
        let interval = Interval::between(&nothing, &nothing, Duration::ZERO);
        let figures = figures("process 7 at /a/socket/with/日本語/in/its/name", &nothing, &interval);
        for width in 0..90 {
            for line in screen(&figures, width) {
                let line = anstream::adapter::strip_str(&line).to_string();
                assert!(columns(&line) <= width.max(1), "{width}: {line:?}");
            }
        }
    }
}
