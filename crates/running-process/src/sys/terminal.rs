//! The terminal of a process.

use super::process::ProcessHandle;

/// Returns the path of the terminal whose end ends `process` by SIGHUP: its controlling terminal, unless it ignores the signal.
///
/// # Platform-specific behavior
///
/// `None` outside Linux, and if `/proc` does not show the process.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(unused_variables, reason = "only Linux tells")
)]
pub(crate) fn process_terminal(process: &ProcessHandle) -> Option<String> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return process.0.terminal().ok().flatten().map(path_of);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// Returns the usual path of a terminal by its device number, as `proc_pid_stat(5)` has it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn path_of(number: u64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    match major {
        4 if minor < 64 => format!("/dev/tty{minor}"),
        4 => format!("/dev/ttyS{}", minor - 64),
        136..=143 => format!("/dev/pts/{}", (major - 136) * 256 + minor),
        _ => format!("device {major}:{minor}"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_device_number_names_the_terminal() {
        assert_eq!(path_of(0x8803), "/dev/pts/3");
        assert_eq!(path_of(0x8901), "/dev/pts/257");
        assert_eq!(path_of(0x0401), "/dev/tty1");
        assert_eq!(path_of(0x0440), "/dev/ttyS0");
        assert_eq!(path_of((229 << 8) | 7), "device 229:7");
    }
}
