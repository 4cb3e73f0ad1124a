//! Waiting for descriptors, in a thread up to a deadline or in a task.

#![cfg_attr(feature = "tokio", allow(unsafe_code))]

use std::io;
#[cfg(feature = "tokio")]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use rustix::event::PollFlags;
use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;
#[cfg(feature = "tokio")]
use tokio::io::{Interest, unix::AsyncFd};

/// Longest single wait handed to the system. Some systems take milliseconds in an `i32`, about 24 days.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Waits until one of `fds` is ready, and returns `true`, or until `deadline` has passed, and returns `false`.
/// Readiness wins: with a deadline in the past this is a check that does not block.
pub(crate) fn wait_ready(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let remaining = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = remaining.map(|left| {
            let left = left.min(LONGEST_WAIT);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(fds, timeout.as_ref()) {
            Ok(0) if deadline.is_some_and(|at| at <= Instant::now()) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns whether one of `fds` is ready now.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_ready(fds: &mut [PollFd<'_>]) -> io::Result<bool> {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::io::retry_on_intr(|| poll(fds, Some(&NOW)))? > 0)
}

/// Registers `fd` with the runtime until the result is dropped. The runtime takes each descriptor once at a time.
///
/// # Panics
///
/// Outside a tokio runtime that drives I/O.
#[cfg(feature = "tokio")]
pub(crate) fn watch(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: a borrowed descriptor is open and the same for as long as the result can live.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Registers a descriptor as [`watch`] does; the result owns it.
///
/// # Panics
///
/// Outside a tokio runtime that drives I/O.
#[cfg(feature = "tokio")]
pub(crate) fn watch_owned(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the result owns the descriptor, which so is open and the same for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Waits until `fd` is readable. It must stay readable.
///
/// # Panics
///
/// Outside a tokio runtime that drives I/O.
#[cfg(feature = "tokio")]
pub(crate) async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    // A copy, because other tasks may wait for the same descriptor.
    let fd = fd.try_clone_to_owned()?;
    let watched = watch(fd.as_fd(), Interest::READABLE)?;
    loop {
        let mut ready = watched.readable().await?;
        if wait_ready(&mut [PollFd::new(&fd, PollFlags::IN)], Some(Instant::now()))? {
            return Ok(());
        }
        ready.clear_ready();
    }
}
