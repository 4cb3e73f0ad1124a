//! The control group of a process.

use super::process::ProcessHandle;

/// Returns the control group of this process below the root of the unified hierarchy, such as
/// `/user.slice/user-1000.slice/session-2.scope`. When the group is killed, its processes end.
///
/// # Platform-specific behavior
///
/// `None` outside Linux, and without the unified hierarchy (`cgroups(7)`). In a cgroup namespace the path is relative to the
/// root of the namespace.
pub(crate) fn own_cgroup() -> Option<String> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return unified(&std::fs::read_to_string("/proc/self/cgroup").ok()?);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// Returns the control group of `process`, as [`own_cgroup`] does for this process; `None` also if it has exited.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(unused_variables, reason = "only Linux has control groups")
)]
pub(crate) fn process_cgroup(process: &ProcessHandle) -> Option<String> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return unified(&process.0.cgroups().ok()?);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// Returns the path in the line of the unified hierarchy, `0::PATH`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn unified(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_in_the_group_of_its_parent() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = ProcessHandle::open(child.id()).unwrap().unwrap();
        assert_eq!(process_cgroup(&process), own_cgroup());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process_cgroup(&process), None);
    }

    #[test]
    fn the_unified_hierarchy_has_one_line() {
        let groups = "4:memory:/old\n1:name=systemd:/user.slice\n0::/user.slice/a:b.scope\n";
        assert_eq!(unified(groups).as_deref(), Some("/user.slice/a:b.scope"));
        assert_eq!(unified("0::/\n").as_deref(), Some("/"));
        assert_eq!(unified("4:memory:/old\n"), None);
    }
}
