//! Reads that never wait.

use std::io;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, recv};

use super::super::timed_out;
use super::LocalStream;
use crate::sys::{self, Peer, PeerError, PidfdPolicy};

impl LocalStream {
    /// Reads what has arrived into the start of `buf`, which is not empty, and does not wait; `Ok(0)` is the end of the stream.
    ///
    /// For a loop whose deadline has passed: what the peer sent in time has arrived, also if this process was stopped
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if nothing has arrived; otherwise what the system said.
    pub fn read_arrived(&self, buf: &mut [u8]) -> io::Result<usize> {
        at_once(|| recv(self.as_fd(), &mut *buf, RecvFlags::DONTWAIT).map(|(_, received)| received))
    }

    /// [`read_onto`](Self::read_onto) that does not wait.
    ///
    /// # Errors
    ///
    /// As for [`read_arrived`](Self::read_arrived).
    pub(crate) fn read_arrived_onto(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        at_once(|| {
            recv(self.as_fd(), spare_capacity(buffer), RecvFlags::DONTWAIT).map(|(_, received)| received)
        })
    }

    /// [`read_named_deadline`](Self::read_named_deadline) that does not wait, into a `buf` that is not empty.
    ///
    /// # Errors
    ///
    /// As for [`read_arrived`](Self::read_arrived).
    pub(crate) fn read_named_arrived(
        &self,
        buf: &mut [u8],
        pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        at_once(|| sys::recv_named(self.as_fd(), buf, RecvFlags::DONTWAIT, pidfds))
    }
}

pub(super) fn at_once<T>(receive: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    retry_on_intr(receive).map_err(|error| match error {
        Errno::WOULDBLOCK => timed_out(),
        error => error.into(),
    })
}
