//! The version of a daemon, for people.

use running_process::broker::backend_handle::DaemonProcess;
use std::fmt;

/// Returns the version with its build, such as `1.2.0 (build 4f2a91c)`; `None` if the daemon tells neither.
pub(crate) fn release(daemon: &DaemonProcess) -> Option<String> {
    match (daemon.version(), daemon.build()) {
        (Some(version), Some(build)) => Some(format!("{version} (build {build})")),
        (Some(version), None) => Some(version.to_owned()),
        (None, Some(build)) => Some(format!("unknown (build {build})")),
        (None, None) => None,
    }
}

/// Formats the process of a daemon: `process 7 of version 1.2.0`, or `process 7` if it tells no version.
pub(crate) fn process(daemon: &DaemonProcess) -> impl fmt::Display {
    fmt::from_fn(move |formatter| {
        write!(formatter, "process {}", daemon.pid)?;
        release(daemon).map_or(Ok(()), |release| write!(formatter, " of version {release}"))
    })
}
