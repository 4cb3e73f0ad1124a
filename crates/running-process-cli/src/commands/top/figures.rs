//! The figures of a status, in groups that are wrapped to the terminal.

use super::interval::Interval;
use super::units::{latency, memory, whole};
use crate::amount::amount;
use crate::text::{columns, cut};
use crate::wire::{counted, grouped};
use anstyle::{AnsiColor, Style};
use running_process::broker::protocol::ServerStatus;
use std::fmt::Write as _;
use std::time::Duration;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// The text in the place of latencies before the first request is answered.
pub(super) const NO_REQUEST: &str = "no request yet";

/// A group of figures with an optional name.
pub(super) struct Figures {
    name: &'static str,
    figures: Vec<(String, Style)>,
}

/// Returns the figures of a status and of its difference to the one before. The process and the place of the daemon have gone through
/// [`safe`](crate::text::safe).
pub(super) fn figures(
    [process, place]: &[String; 2],
    status: &ServerStatus,
    interval: &Interval,
) -> Vec<Figures> {
    let warned = |count: u64| if count > 0 { RED } else { Style::new() };
    let plain = |figures: Vec<String>| figures.into_iter().map(|figure| (figure, Style::new())).collect();
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime().as_secs()));
    vec![
        Figures { name: "", figures: plain(vec![process.clone(), format!("up {uptime}"), place.clone()]) },
        Figures {
            name: "requests",
            figures: plain(vec![
                format!("{}/s", whole(interval.rate(interval.answered))),
                format!("{} in flight", grouped(status.requests_in_flight)),
                format!("{} refused", grouped(interval.refused)),
                format!("{} cancelled", grouped(interval.cancelled)),
            ]),
        },
        Figures { name: "latency", figures: plain(latencies(status, interval)) },
        Figures {
            name: "connections",
            figures: vec![
                (format!("{} open", grouped(status.connections_open)), Style::new()),
                (format!("{} accepted", grouped(status.connections_accepted)), Style::new()),
                (counted(interval.errors, "error"), warned(interval.errors)),
            ],
        },
        Figures {
            name: "traffic",
            figures: plain(vec![
                format!("{}/s in", amount(interval.rate(interval.bytes_received))),
                format!("{}/s out", amount(interval.rate(interval.bytes_sent))),
            ]),
        },
        Figures { name: "buffers", figures: plain(vec![memory(status)]) },
        Figures {
            name: "limits hit",
            figures: vec![
                (grouped(interval.limits_hit), warned(interval.limits_hit)),
                (format!("{} in all", grouped(status.limits_hit())), Style::new()),
            ],
        },
    ]
}

fn latencies(status: &ServerStatus, interval: &Interval) -> Vec<String> {
    if status.requests_answered == 0 {
        return vec![NO_REQUEST.to_owned()];
    }
    interval.latencies().map(|(name, found)| format!("{name} {}", latency(found))).into()
}

/// Formats the figures as lines of at most `width` columns. A figure that does not fit begins a new line.
pub(super) fn lines(figures: &[Figures], width: usize) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_server_is_shown_without_latencies() {
        let mut idle = ServerStatus::default();
        idle.requests_answered = 1;
        let interval = Interval::between(&idle, &idle, Duration::ZERO);
        let figures = figures(&["process 7".to_owned(), "at /a/socket".to_owned()], &idle, &interval);
        let screen = |width| {
            let lines = lines(&figures, width);
            let plain = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string());
            plain.collect::<Vec<_>>().join("\n")
        };
        let wide = "process 7, up 0s, at /a/socket
requests     0/s, 0 in flight, 0 refused, 0 cancelled
latency      p50 -, p90 -, p99 -, max -
connections  0 open, 0 accepted, 0 errors
traffic      0 B/s in, 0 B/s out
buffers      0 B
limits hit   0, 0 in all";
        assert_eq!(screen(80), wide);
        let narrow = "process 7, up 0s, at /a/socket
requests     0/s, 0 in flight
             0 refused, 0 cancelled
latency      p50 -, p90 -, p99 -, max -
connections  0 open, 0 accepted
             0 errors
traffic      0 B/s in, 0 B/s out
buffers      0 B
limits hit   0, 0 in all";
        assert_eq!(screen(39), narrow);
    }

    #[test]
    fn a_server_without_a_request_so_far_is_shown_as_one() {
        let none = ServerStatus::default();
        let interval = Interval::between(&none, &none, Duration::ZERO);
        let figures = figures(&["process 7".to_owned(), "at /a/socket".to_owned()], &none, &interval);
        let lines = lines(&figures, 80);
        assert_eq!(anstream::adapter::strip_str(&lines[2]).to_string(), "latency      no request yet");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let nothing = ServerStatus::default();
        let interval = Interval::between(&nothing, &nothing, Duration::ZERO);
        let figures = figures(
            &["process 7".to_owned(), "at /a/socket/with/日本語/in/its/name".to_owned()],
            &nothing,
            &interval,
        );
        for width in 0..90 {
            for line in lines(&figures, width) {
                let line = anstream::adapter::strip_str(&line).to_string();
                assert!(columns(&line) <= width.max(1), "{width}: {line:?}");
            }
        }
    }
}
