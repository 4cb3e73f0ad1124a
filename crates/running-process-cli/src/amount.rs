//! Amounts of bytes and time for people.

use std::time::Duration;

/// Formats a number of bytes with a suitable unit, such as `16.4 kB`.
pub(crate) fn amount(bytes: f64) -> String {
    match bytes {
        ..999.5 => format!("{bytes:.0} B"),
        ..999_950.0 => format!("{:.1} kB", bytes / 1e3),
        ..999_950_000.0 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

/// Formats a time in seconds or more with its two largest units, such as `3h 12m`.
pub(crate) fn rough(time: Duration) -> String {
    let exact = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    exact.split(' ').take(2).collect::<Vec<_>>().join(" ")
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
    fn a_time_has_its_two_largest_units() {
        let shown = [0, 59, 60, 3601, 86_400 + 7200 + 59].map(|seconds| rough(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "59s", "1m", "1h 1s", "1day 2h"]);
    }
}
