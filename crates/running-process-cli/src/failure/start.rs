//! A failed start of a service's daemon, in JSON and as text.

use crate::text::safe;
use crate::wire::counted;
use running_process::broker::service::{StartEnd, StartFailure};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A failed start, which docs/json.md describes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FailedStart {
    end: &'static str,
    exit_status: Option<i32>,
    signal: Option<i32>,
    message: String,
    log: String,
}

impl From<&StartFailure> for FailedStart {
    fn from(failure: &StartFailure) -> Self {
        let (end, exit_status, signal) = match failure.end {
            StartEnd::NotRun { .. } => ("not_run", None, None),
            StartEnd::Exited { status } => ("exited", Some(status), None),
            StartEnd::Signaled { signal } => ("signaled", None, Some(signal)),
            StartEnd::Ended => ("ended", None, None),
            StartEnd::Silent { .. } => ("silent", None, None),
            StartEnd::Abandoned => ("abandoned", None, None),
            StartEnd::Crashed => ("crashed", None, None),
            _ => ("other", None, None),
        };
        Self { end, exit_status, signal, message: failure.end.to_string(), log: failure.log.clone() }
    }
}

impl FailedStart {
    /// Returns the last lines of the daemon's log, each behind `margin`; empty if the log has none.
    pub(crate) fn log_lines(&self, margin: &str) -> String {
        self.log.lines().fold(String::new(), |mut text, line| {
            let _infallible = writeln!(text, "{margin}{}", safe(line));
            text
        })
    }

    /// Returns the way in which the start failed.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// Returns the moment as milliseconds since the Unix epoch.
pub(crate) fn unix_ms(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the moment in UTC and the time until then, in whole seconds.
pub(crate) fn until(moment: SystemTime) -> String {
    let left = moment.duration_since(SystemTime::now()).unwrap_or_default();
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    format!("{} (in {seconds}s)", humantime::format_rfc3339_seconds(moment))
}

/// Returns the time since the moment, to a whole unit: `5 minutes ago`.
pub(crate) fn ago(moment: SystemTime) -> String {
    // A clock that was set back counts as no time.
    passed(moment.elapsed().unwrap_or_default())
}

fn passed(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{} ago", counted(count, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_past_has_its_largest_unit() {
        let shown = [0, 1, 119, 7300, 86_400].map(|seconds| passed(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0 seconds ago", "1 second ago", "1 minute ago", "2 hours ago", "1 day ago"]);
    }
}
