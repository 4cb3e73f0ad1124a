//! Reads that never wait.

use std::io;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, recv};

use super::super::error::timed_out;
use super::super::incoming::Incoming;
use super::descriptors::receive_with;
use super::stream::Stream;
use crate::sys::{self, Peer, PeerError, PidfdPolicy};

impl Stream {
    pub(crate) fn read_arrived(&self, buf: &mut [u8]) -> io::Result<usize> {
        at_once(|| recv(self.as_fd(), &mut *buf, RecvFlags::DONTWAIT).map(|(_, received)| received))
    }

    pub(crate) fn read_arrived_onto(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        at_once(|| {
            recv(self.as_fd(), spare_capacity(buffer), RecvFlags::DONTWAIT).map(|(_, received)| received)
        })
    }

    pub(crate) fn read_arrived_with(&self, buf: &mut [u8], incoming: &mut Incoming) -> io::Result<usize> {
        at_once(|| receive_with(self.as_fd(), buf, RecvFlags::DONTWAIT, incoming))
    }

    pub(crate) fn read_named_arrived(
        &self,
        buf: &mut [u8],
        pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        at_once(|| sys::recv_named(self.as_fd(), buf, RecvFlags::DONTWAIT, pidfds))
    }
}

/// Calls `receive`, which does not wait. Nothing to receive is [`io::ErrorKind::TimedOut`].
pub(super) fn at_once<T>(receive: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    retry_on_intr(receive).map_err(|error| match error {
        Errno::WOULDBLOCK => timed_out(),
        error => error.into(),
    })
}
