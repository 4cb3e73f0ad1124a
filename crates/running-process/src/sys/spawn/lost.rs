//! A daemon of which nothing is known.

use std::io;

/// The process between the starter and the daemon was killed before it told what became of the daemon.
#[derive(Debug, thiserror::Error)]
#[error("the process that started the daemon was killed, and the daemon may run nevertheless")]
struct Lost;

/// Returns the error of a start whose outcome is unknown.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
pub(super) fn lost() -> io::Error {
    io::Error::other(Lost)
}

/// Returns whether it is unknown after this error of [`spawn_detached`](super::spawned::spawn_detached) whether the daemon runs.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(cause) if cause.is::<Lost>())
}
