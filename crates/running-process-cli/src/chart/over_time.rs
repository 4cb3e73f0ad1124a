//! Values over time, one column each.

use super::Glyphs;
use crate::text::{columns, cut};
use std::collections::VecDeque;
use std::time::Duration;

/// Number of values that a history keeps: more than a terminal has columns.
const CAPACITY: usize = 1000;

/// The latest values of a figure, at equal intervals. `None` is an interval without a value.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<Option<f64>>);

impl History {
    /// Adds the latest value, and forgets one that no terminal has room for.
    pub(crate) fn push(&mut self, value: Option<f64>) {
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// Returns the number of values.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the latest values, at most `most`, oldest first.
    fn latest(&self, most: usize) -> impl Iterator<Item = Option<f64>> {
        self.0.iter().copied().skip(self.0.len().saturating_sub(most))
    }

    /// Returns the largest of the latest values; `None` if there is none.
    fn peak(&self, most: usize) -> Option<f64> {
        self.latest(most).flatten().reduce(f64::max)
    }
}

/// A history with its name, and the text of a value.
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) history: &'a History,
    pub(crate) label: &'a dyn Fn(f64) -> String,
    /// The text in the place of a chart without any value.
    pub(crate) empty: &'a str,
}

/// Draws the series below each other, each in so many rows of `width` columns, and with the newest value at the right.
///
/// The top of each is its largest value, which is written at its axis, and the bottom is 0. Below the first name is the time that all
/// values cover, `interval` each.
pub(crate) fn over_time(
    series: &[Series<'_>],
    interval: Duration,
    (width, rows): (usize, usize),
    glyphs: Glyphs,
) -> Vec<String> {
    // The labels are those of all values that could be shown, so that the axes do not depend on their own width.
    let label = |series: &Series<'_>| series.history.peak(width).map_or_else(|| "-".to_owned(), series.label);
    let labels: Vec<String> = series.iter().map(|series| glyphs.spell(label(series))).collect();
    let names = series.iter().map(|series| columns(series.name)).max().unwrap_or_default();
    let numbers = labels.iter().map(|label| columns(label)).max().unwrap_or_default();
    let gutter = (names + 1 + numbers).min(width.saturating_sub(2) / 2);
    let plot = width.saturating_sub(gutter + 2);
    let mut lines = Vec::new();
    for (series, label) in series.iter().zip(&labels) {
        for (row, bars) in bars(series.history, plot, rows, glyphs).into_iter().enumerate() {
            let covered =
                if lines.len() == 1 { covered(series.history, plot, interval) } else { String::new() };
            let (name, number) = match row {
                0 => (series.name, label.as_str()),
                row if row + 1 == rows => (covered.as_str(), "0"),
                _ => (covered.as_str(), ""),
            };
            let is_empty = row == 0 && series.history.peak(plot).is_none();
            let bars = if is_empty { cut(&format!(" {}", series.empty), plot) } else { bars };
            let number = cut(number, gutter);
            let name = cut(name, gutter.saturating_sub(columns(&number) + 1));
            let pad = gutter - columns(&name) - columns(&number);
            let axis = glyphs.axis(!number.is_empty());
            lines.push(glyphs.spell(format!("{name}{:pad$}{number} {axis}{bars}", "")));
        }
    }
    lines
}

/// Returns the time that the latest values cover, such as `last 150ms` or `last 1m 20s`.
fn covered(history: &History, most: usize, interval: Duration) -> String {
    let values = u32::try_from(history.latest(most).count()).unwrap_or(u32::MAX);
    let covered = interval.saturating_mul(values);
    if covered < Duration::from_secs(1) {
        return format!("last {covered:.0?}");
    }
    format!("last {}", humantime::format_duration(Duration::from_secs_f64(covered.as_secs_f64().round())))
}

/// Draws the latest values in one row of at most `columns`.
pub(crate) fn spark(history: &History, columns: usize, glyphs: Glyphs) -> String {
    bars(history, columns, 1, glyphs).concat()
}

/// Returns the rows from top to bottom, each of `columns`.
fn bars(history: &History, columns: usize, rows: usize, glyphs: Glyphs) -> Vec<String> {
    let peak = history.peak(columns).unwrap_or_default();
    let missing = columns - history.latest(columns).count();
    let draw = |row: usize| {
        let below = (rows - 1 - row) * 8;
        let column = |value: Option<f64>| {
            let eighths = value.map_or(0, |value| height(value, peak, rows * 8));
            glyphs.filled(eighths.saturating_sub(below))
        };
        " ".repeat(missing) + &history.latest(columns).map(column).collect::<String>()
    };
    (0..rows).map(draw).collect()
}

/// Returns the height of a value in eighths of a row, at least one: a value of 0 differs from none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few hundred eighths at most"
)]
fn height(value: f64, peak: f64, most: usize) -> usize {
    if peak > 0.0 { ((value / peak * most as f64).round() as usize).clamp(1, most) } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn history(values: impl IntoIterator<Item = f64>) -> History {
        let mut history = History::default();
        for value in values {
            history.push(Some(value));
        }
        history
    }

    fn whole(value: f64) -> String {
        format!("{value:.0}")
    }

    #[test]
    fn the_newest_value_is_at_the_right_and_the_largest_at_the_top() {
        let history = history([0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(spark(&history, 8, Glyphs::Blocks), "   ▁▂▄▆█");
        assert_eq!(spark(&history, 3, Glyphs::Blocks), "▄▆█");
        assert_eq!(spark(&history, 8, Glyphs::Ascii), "   _.:|#");
        assert_eq!(spark(&history, 0, Glyphs::Ascii), "");
    }

    #[test]
    fn an_interval_without_a_value_is_blank_and_one_with_zero_is_not() {
        let mut history = history([0.0]);
        history.push(None);
        history.push(Some(0.0));
        assert_eq!(spark(&history, 3, Glyphs::Blocks), "▁ ▁");
    }

    #[test]
    fn each_series_has_its_name_and_the_axes_are_below_each_other() {
        let (rates, latencies) = (history([500.0, 1000.0]), history([8.0, 4.0]));
        let label = |value: f64| format!("{value:.1}µs");
        let series = [
            Series { name: "req/s", history: &rates, label: &whole, empty: "" },
            Series { name: "p99", history: &latencies, label: &label, empty: "nothing yet" },
        ];
        let blocks = [
            "req/s  1000 ┤          █",
            "last 40s  0 ┤         ██",
            "p99   8.0µs ┤         █ ",
            "          0 ┤         ██",
        ];
        assert_eq!(over_time(&series, Duration::from_secs(20), (24, 2), Glyphs::Blocks), blocks);
        let ascii = ["req/s  1000 |         :#", "p99   8.0us |         #:"];
        assert_eq!(over_time(&series, Duration::from_secs(20), (24, 1), Glyphs::Ascii), ascii);
    }

    #[test]
    fn a_series_without_any_value_says_so_in_the_place_of_a_chart() {
        let (none, label) = (History::default(), whole);
        let series = [Series { name: "p99", history: &none, label: &label, empty: "nothing yet" }];
        let lines = |width| over_time(&series, Duration::from_secs(20), (width, 1), Glyphs::Blocks);
        assert_eq!(lines(24), ["p99 - ┤ nothing yet"]);
        assert_eq!(lines(12), ["p99 - ┤ not…"]);
    }

    #[test]
    fn old_values_are_forgotten() {
        let history = history((0..2000).map(f64::from));
        assert_eq!(history.len(), CAPACITY);
        assert_eq!(history.latest(2).collect::<Vec<_>>(), [Some(1998.0), Some(1999.0)]);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked_for(
            values in prop::collection::vec(prop::option::of(0.0..1e12), 0..60), width in 0_usize..90, rows in 1_usize..6,
        ) {
            let mut history = History::default();
            for value in values {
                history.push(value);
            }
            for glyphs in [Glyphs::Blocks, Glyphs::Ascii] {
                let series = [Series { name: "requests/s", history: &history, label: &whole, empty: "" }];
                let lines = over_time(&series, Duration::from_secs(7), (width, rows), glyphs);
                prop_assert_eq!(lines.len(), rows);
                for line in lines {
                    prop_assert!(columns(&line) <= width.max(2), "{}: {:?}", width, line);
                    prop_assert!(glyphs == Glyphs::Blocks || line.is_ascii());
                }
            }
        }
    }
}
