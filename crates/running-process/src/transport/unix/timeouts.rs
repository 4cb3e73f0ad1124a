//! The timeouts that the kernel keeps for a socket, set as rarely as possible.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// A timeout that this process has not set, so it may be anything.
const UNKNOWN: u64 = u64::MAX;
/// Longest timeout handed to the kernel, in microseconds (about four and a half minutes).
const LONGEST: u64 = 1 << 28;
/// A timeout in microseconds (a quarter of a second) that may stay where a longer one, or none, is wanted.
const LONG_ENOUGH: u64 = 1 << 18;

/// One of the two timeouts of a socket (`SO_RCVTIMEO`, `SO_SNDTIMEO`), as last set; in microseconds, 0 is none.
///
/// A call with a deadline should cost one system call, as one without does. So the kernel's timeout is not the
/// remaining time but a rough, lasting value of *at most* that: the next call with a similar deadline finds it already
/// set. When it fires, the caller waits out the rest exactly, with poll(2). A set value is similar if `left / 4 <= set
/// <= left`. A set value of a quarter of a second or more costs a caller that waits longer one more call, once.
///
/// The option belongs to the socket and so to all clones of a stream, which share this value too. They may race: then
/// the kernel has one of two values and this field the other, and a call returns late by at most the difference. One
/// reader and one writer at a time, each with its own option, do not race.
#[derive(Debug)]
pub(super) struct SocketTimeout(AtomicU64);

impl SocketTimeout {
    /// Returns the value for a socket that was made here and has no timeout.
    pub(super) fn unset() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the value for a socket from elsewhere.
    pub(super) fn unknown() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }

    /// Makes the kernel's timeout fit the remaining time `left`, which is not zero; `None` removes it.
    pub(super) fn fit(
        &self,
        socket: BorrowedFd<'_>,
        which: Timeout,
        left: Option<Duration>,
    ) -> rustix::io::Result<()> {
        let set = self.0.load(Ordering::Relaxed);
        let wanted = match left {
            None if set == 0 || (LONG_ENOUGH..=LONGEST).contains(&set) => return Ok(()),
            None => 0,
            Some(left) => {
                let left = u64::try_from(left.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST);
                if set != 0 && LONG_ENOUGH.min(left / 4) <= set && set <= left {
                    return Ok(());
                }
                1 << left.ilog2()
            }
        };
        set_socket_timeout(socket, which, (wanted != 0).then(|| Duration::from_micros(wanted)))?;
        self.0.store(wanted, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the timeout for the next owner of the socket.
    pub(super) fn clear(&self, socket: BorrowedFd<'_>, which: Timeout) {
        if self.0.swap(0, Ordering::Relaxed) != 0 {
            // Removing a timeout of an open socket does not fail.
            let _ = set_socket_timeout(socket, which, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_timeout;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn left(timeout: &SocketTimeout, socket: &UnixStream, seconds: f64) -> Option<Duration> {
        timeout.fit(socket.as_fd(), Timeout::Recv, Some(Duration::from_secs_f64(seconds))).unwrap();
        socket_timeout(socket, Timeout::Recv).unwrap()
    }

    #[test]
    fn similar_deadlines_keep_the_timeout_and_it_never_exceeds_what_is_left() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let timeout = SocketTimeout::unset();
        let first = left(&timeout, &socket, 5.0).unwrap();
        // The kernel counts in ticks of up to 10 ms.
        let tick = Duration::from_millis(10);
        assert!(first <= Duration::from_secs(5) + tick && first >= Duration::from_secs(2));
        assert_eq!(left(&timeout, &socket, 4.9), Some(first));
        assert_eq!(left(&timeout, &socket, 10.0), Some(first));
        assert!(left(&timeout, &socket, 0.5).unwrap() <= Duration::from_millis(500) + tick);
        // This timeout may stay: it fires once, for any longer time.
        let long = left(&timeout, &socket, 0.3).unwrap();
        assert_eq!(left(&timeout, &socket, 1e6), Some(long));
        timeout.fit(socket.as_fd(), Timeout::Recv, None).unwrap();
        assert_eq!(socket_timeout(&socket, Timeout::Recv).unwrap(), Some(long));
        // A short timeout would fire again and again.
        let short = left(&timeout, &socket, 0.1).unwrap();
        assert!(left(&timeout, &socket, 1e6).unwrap() > Duration::from_secs(100));
        assert!(left(&timeout, &socket, 0.1) == Some(short));
        timeout.fit(socket.as_fd(), Timeout::Recv, None).unwrap();
        assert_eq!(socket_timeout(&socket, Timeout::Recv).unwrap(), None);
        left(&timeout, &socket, 5.0);
        timeout.clear(socket.as_fd(), Timeout::Recv);
        assert_eq!(socket_timeout(&socket, Timeout::Recv).unwrap(), None);
    }

    #[test]
    fn an_unknown_timeout_is_removed_when_there_is_no_deadline() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        SocketTimeout::unknown().fit(socket.as_fd(), Timeout::Recv, None).unwrap();
        assert_eq!(socket.read_timeout().unwrap(), None);
    }
}
