//! The namespaces and the restrictions in which this process and another one differ, for people.

use std::fs;

/// The kinds of namespaces that decide what one process sees of another one, by their links in `/proc/PID/ns`.
const KINDS: [(&str, &str); 4] = [("mnt", "mount"), ("net", "network"), ("pid", "pid"), ("user", "user")];

/// Formats the namespaces in which the process `other` is and this one is not, and whether a filter restricts the system calls of
/// this process, as the end of a sentence; empty if nothing is known to keep them apart.
pub(super) fn barrier(other: Option<u32>) -> String {
    let namespaces = other.map(|other| told(other, &differing(other))).unwrap_or_default();
    let filter =
        if is_filtered() { "; a filter of system calls (seccomp) restricts this command" } else { "" };
    format!("{namespaces}{filter}")
}

fn differing(other: u32) -> Vec<&'static str> {
    let link = |process: &str, kind: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
    let differs = |kind: &str| {
        link(&other.to_string(), kind).zip(link("self", kind)).is_some_and(|(other, own)| other != own)
    };
    KINDS.into_iter().filter(|(kind, _)| differs(kind)).map(|(_, name)| name).collect()
}

fn told(other: u32, names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => format!("; process {other} is in another {name} namespace"),
        [names @ .., last] => {
            format!("; process {other} is in other {} and {last} namespaces", names.join(", "))
        }
    }
}

/// Returns whether a filter decides which system calls this process may make: `Seccomp` in `proc_pid_status(5)`.
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_that_differs_is_named() {
        assert_eq!(told(7, &[]), "");
        assert_eq!(told(7, &["pid"]), "; process 7 is in another pid namespace");
        let three = "; process 7 is in other mount, network and pid namespaces";
        assert_eq!(told(7, &["mount", "network", "pid"]), three);
        assert!(differing(std::process::id()).is_empty());
    }
}
