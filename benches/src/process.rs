//! Installed programs, and the system's counters of a process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::process::{Command, Stdio};

/// Returns whether a program of that name is installed and prints its version.
pub fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Returns the number of page faults so far that needed no disk.
pub fn page_faults(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name before the last parenthesis may contain anything; the count is the eighth field behind it.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    fields.split_whitespace().nth(7).and_then(|count| count.parse().ok()).expect("a count")
}

/// Raises the limit of descriptors for this process and the servers that it starts.
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the maximum");
}

/// Returns the largest resident size of the process so far, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

/// Returns the resident size of the process, in bytes.
pub fn resident_memory(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the system tells");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a count");
    kibibytes * 1024
}
