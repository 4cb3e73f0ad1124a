//! Waiting for descriptors, up to a deadline.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

/// Longest single wait handed to the system: some of them take milliseconds in an `i32`, about 24 days.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Blocks until one of `fds` is ready, and returns `true`, or until `deadline` has passed, and returns `false`.
/// Readiness wins: a deadline in the past makes this a check that does not block.
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
