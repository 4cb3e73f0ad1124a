//! The picture of a daemon at one glance: figures, requests and latencies over time, and a histogram of latencies.

use super::figures::{NO_REQUEST, figures, lines};
use super::interval::Interval;
use super::units::{latency, whole};
use crate::chart::{Glyphs, History, MOST_BUCKETS, Series, buckets, histogram, over_time};
use crate::text::cut;
use crate::wire::counted;
use anstyle::Style;
use running_process::broker::protocol::ServerStatus;
use std::time::Duration;

const BOLD: Style = Style::new().bold();

/// Rows of a value over time at most.
const MOST_ROWS: usize = 6;
/// Rows below its heading from which a histogram is drawn.
const LEAST_BUCKETS: usize = 3;

/// The observations of the daemon so far.
#[derive(Debug, Default)]
pub(super) struct Past {
    rates: History,
    /// The 99th percentiles in seconds.
    latencies: History,
}

impl Past {
    /// Adds the latest interval.
    pub(super) fn push(&mut self, interval: &Interval) {
        self.rates.push(Some(interval.rate(interval.answered)));
        self.latencies.push(interval.p99().map(|latency| latency.as_secs_f64()));
    }
}

/// Draws the picture under its `title`, the process and the place of the daemon, in at most `rows` lines of at most `columns`. The figures come first; charts take the rows that are left.
pub(super) fn picture(
    title: &[String; 2],
    (status, interval): (&ServerStatus, &Interval),
    past: &Past,
    (columns, rows): (usize, usize),
    glyphs: Glyphs,
) -> Vec<String> {
    let mut picture = lines(&figures(title, status, interval), columns);
    let left = |picture: &Vec<String>| rows.saturating_sub(picture.len());
    picture.extend(courses(past, interval, (columns, left(&picture)), glyphs));
    picture.extend(distribution(interval, (columns, left(&picture)), glyphs));
    picture.truncate(rows);
    picture
}

/// Draws requests and latencies over time, in about half of the rows that are left.
fn courses(past: &Past, interval: &Interval, (columns, left): (usize, usize), glyphs: Glyphs) -> Vec<String> {
    let seconds = |seconds| latency(Some(Duration::from_secs_f64(seconds)));
    let series = [
        Series { name: "requests/s", history: &past.rates, label: &whole, empty: "" },
        Series { name: "p99", history: &past.latencies, label: &seconds, empty: NO_REQUEST },
    ];
    let rows = (left / (2 * series.len())).min(MOST_ROWS);
    if rows == 0 || past.rates.len() < 2 {
        return Vec::new();
    }
    over_time(&series, Duration::from_secs_f64(interval.seconds), (columns, rows), glyphs)
}

/// Draws the latencies of an interval under their heading, if there is room.
fn distribution(interval: &Interval, (columns, left): (usize, usize), glyphs: Glyphs) -> Vec<String> {
    let room = left.saturating_sub(1).min(MOST_BUCKETS);
    let latencies = interval.counts_by_latency();
    let buckets = buckets(&latencies, room);
    if room < LEAST_BUCKETS || buckets.len() > room || buckets.is_empty() {
        return Vec::new();
    }
    let requests = counted(latencies.iter().map(|(_, count)| count).sum::<u64>(), "request");
    let seconds = Duration::from_secs_f64(interval.seconds);
    let heading = cut(&format!("latencies of {requests} in {seconds:.1?}"), columns);
    std::iter::once(format!("{BOLD}{heading}{BOLD:#}")).chain(histogram(&buckets, columns, glyphs)).collect()
}
