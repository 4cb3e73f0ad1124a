//! Systems on which no daemon can be started.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::plan::{ProcessEnd, SpawnPlan};
use crate::sys::process::ProcessHandle;

pub(super) fn spawn(_plan: &SpawnPlan<'_>) -> io::Result<Spawned> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "daemons cannot be started on this system"))
}

/// No value of this type exists.
#[derive(Debug)]
pub(super) enum Spawned {}

impl Spawned {
    pub(super) fn process(&self) -> &ProcessHandle {
        match *self {}
    }

    pub(super) fn end(&mut self, _deadline: Option<Instant>) -> io::Result<Option<ProcessEnd>> {
        match *self {}
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
