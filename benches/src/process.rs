//! Programs, and what the system counts for a process.

use std::fs;
use std::process::{Command, Stdio};

/// Whether there is a program of that name, which says its version.
pub fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Page faults that no disk had to be read for, so far.
pub fn page_faults(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name before the last parenthesis may contain anything; the count is the eighth field behind it.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    fields.split_whitespace().nth(7).and_then(|count| count.parse().ok()).expect("a count")
}

/// The most memory that the process has had resident, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the system tells");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a count");
    kibibytes * 1024
}
