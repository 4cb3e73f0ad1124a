//! Systems on which no operation is announced: clients look again and again, at growing intervals.

use super::deadline::Deadline;
use std::io;
use std::path::{Path, PathBuf};

/// No value of this type exists.
#[derive(Debug)]
pub(super) enum Operation {}

impl Operation {
    pub(super) fn announce(_: PathBuf) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn withdraw(&self) {
        match *self {}
    }
}

/// No value of this type exists.
#[derive(Debug)]
pub(super) enum OperationWait {}

impl OperationWait {
    pub(super) fn at(_: &Path) -> Option<Self> {
        None
    }

    pub(super) fn process(&self) -> Option<u32> {
        match *self {}
    }

    pub(super) fn ends(&self, _: Deadline) -> bool {
        match *self {}
    }
}
