//! The output of a session.

use super::ServerSession;
use super::blocked::BlockedWrite;
use crate::broker::backend_sdk::proto::send_buffer::{MAX_IOVECS, SendBuffer};
use crate::broker::backend_sdk::proto::server_connection::CallId;
use crate::broker::backend_sdk::server::telemetry::Event;
use crate::descriptor::{Descriptor, are_too_many};
use std::io::{self, IoSlice};
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::time::Instant;

impl<H: ?Sized> ServerSession<H> {
    /// Returns whether output waits to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.connection.output().is_empty()
    }

    /// Writes output by `write` until all of it is written or the socket takes no more, for which `write` returns
    /// [`io::ErrorKind::WouldBlock`]. Any other error but [`Interrupted`](io::ErrorKind::Interrupted) ends the connection. The time
    /// after each write is that of `clock`.
    pub fn write_output(
        &mut self,
        clock: impl FnMut() -> Instant,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) {
        self.write_all_output(clock, |slices, _| write(slices));
    }

    /// Writes output as [`write_output`](Self::write_output) does, for a driver that
    /// [accepts descriptors](Self::accept_descriptors): `write` sends the descriptors that it gets with the first byte.
    #[cfg(unix)]
    pub fn write_output_with(
        &mut self,
        clock: impl FnMut() -> Instant,
        write: impl FnMut(&[IoSlice<'_>], &[OwnedFd]) -> io::Result<usize>,
    ) {
        self.write_all_output(clock, write);
    }

    #[inline]
    pub(in super::super) fn write_all_output(
        &mut self,
        mut clock: impl FnMut() -> Instant,
        mut write: impl FnMut(&[IoSlice<'_>], &[Descriptor]) -> io::Result<usize>,
    ) {
        self.settle();
        while self.has_output() {
            let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
            let count = self.output_slices(&mut slices);
            match write(&slices[..count], self.connection.output_descriptors()) {
                Ok(written) => self.output_written(written, clock()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.write_blocked(clock());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if are_too_many(&error) && self.connection.refuse_unsent() => {
                    self.report(&error.into());
                }
                Err(error) => self.fail(error),
            }
        }
    }

    /// Fills `slices` with the output, for a vectored write; returns how many slices that are.
    pub fn output_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.connection.output_slices(slices)
    }

    /// Removes the first `length` bytes of the output, which were written at `now`.
    ///
    /// # Panics
    ///
    /// `length` is more than the output holds.
    pub fn output_written(&mut self, length: usize, now: Instant) {
        if length == 0 {
            return self.fail(io::ErrorKind::WriteZero.into());
        }
        self.settle();
        self.connection.output_written(length, now);
        self.wrote(length, now);
    }

    fn wrote(&mut self, bytes: usize, now: Instant) {
        self.policy.telemetry.note(Event::Sent { bytes });
        (self.changes.progress, self.changes.resumes) = (true, true);
        if let Some(blocked) = self.blocked.take() {
            self.blocked = blocked.wrote(bytes, now, self.phase);
        }
        self.charge();
    }

    /// Notes at `now` that the socket takes no more output: the peer has
    /// [`write_timeout`](crate::broker::backend_sdk::ServerConfig::write_timeout) to read what waits.
    pub fn write_blocked(&mut self, now: Instant) {
        if self.blocked.is_none() {
            let timeout = self.policy.write_timeout(self.phase);
            self.blocked = Some(BlockedWrite::new(self.connection.unwritten(), now, timeout));
        }
    }

    /// Takes the output, for a driver that blocks in a write while other threads add to the session. It counts as unwritten until it
    /// is [restored](Self::restore_output).
    pub fn take_output(&mut self) -> SendBuffer {
        self.settle();
        self.connection.take_output()
    }

    /// Puts the buffer of [`take_output`](Self::take_output) back at `now`, once all `written` bytes of it were written.
    pub fn restore_output(&mut self, buffer: SendBuffer, written: usize, now: Instant) {
        self.connection.restore_output(buffer, now);
        self.wrote(written, now);
    }

    /// Returns the number of bytes that wait to be written.
    pub(in super::super) fn unwritten(&self) -> usize {
        self.connection.unwritten()
    }

    /// Returns whether the peer leaves so much unread that no handler begins for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.reset && self.connection.unwritten() >= self.policy.config.send_high_water.max(1)
    }

    /// Returns whether output was written or a request was cancelled since the last call: handlers that are
    /// [held back](Self::holds_back) look again.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.changes.progress)
    }

    /// Returns whether an event of `call`, or the beginning of its handler, waits: the peer leaves
    /// [`send_high_water`](crate::broker::backend_sdk::ServerConfig::send_high_water) bytes unread, and still waits for the answer.
    #[must_use]
    pub fn holds_back(&self, call: CallId) -> bool {
        self.is_full() && self.connection.data(call).is_some() && !self.connection.is_cancelled(call)
    }
}
