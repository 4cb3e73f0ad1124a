//! Facts about a process, for people. Nothing is done to a process because of it.

use crate::text::{cut, safe};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Longest command line that is shown, in columns.
const COMMAND_LINE_COLUMNS: usize = 120;
/// Units of time in `/proc/PID/stat` for each second (`USER_HZ`).
const TICKS: u64 = 100;

/// A process that a finding names.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(super) program: Option<PathBuf>,
    command_line: Option<String>,
    user: Option<u32>,
    since: Option<SystemTime>,
}

impl Process {
    /// Looks at the process, which may have ended. Only Linux tells.
    pub(crate) fn of(pid: u32) -> Self {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let command_line = fs::read(directory.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&command_line).trim_end_matches('\0').replace('\0', " ");
        Self {
            program: fs::read_link(directory.join("exe")).ok(),
            command_line: (!words.is_empty()).then_some(words),
            user: user(&directory),
            since: since(&directory),
        }
    }

    /// Formats what a person needs to judge the process, as the end of a sentence about it.
    pub(crate) fn details(&self) -> String {
        let line = self
            .command_line
            .as_ref()
            .map(|line| format!("; it runs `{}`", cut(&safe(line).to_string(), COMMAND_LINE_COLUMNS)));
        let user = self.user.map(|user| format!("; it is of user {user}"));
        let since =
            self.since.map(|since| format!("; it runs since {}", humantime::format_rfc3339_seconds(since)));
        [line, user, since].into_iter().flatten().collect()
    }
}

#[cfg(unix)]
fn user(directory: &std::path::Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    directory.metadata().ok().map(|found| found.uid())
}

#[cfg(not(unix))]
fn user(_: &std::path::Path) -> Option<u32> {
    None
}

/// Returns when the process of this directory in `/proc` was started: field 22 in `proc_pid_stat(5)`, counted from the boot.
fn since(directory: &std::path::Path) -> Option<SystemTime> {
    let stat = fs::read_to_string(directory.join("stat")).ok()?;
    // The name may have brackets and blanks. The third field follows it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').nth(22 - 3)?.parse().ok()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    let age =
        Duration::try_from_secs_f64(uptime).ok()?.checked_sub(Duration::from_millis(ticks * 1000 / TICKS))?;
    SystemTime::now().checked_sub(age)
}
