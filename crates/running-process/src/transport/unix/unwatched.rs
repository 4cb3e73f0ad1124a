//! Systems on which files are not watched.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::super::instance_lock::HeldLock;
use super::directory::FileIdentity;

/// No value of this type exists: making one fails.
#[derive(Debug)]
pub(super) enum Watch {}

impl Watch {
    pub(super) fn new(_: PathBuf, _: FileIdentity, _: Option<HeldLock>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_new(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_lost(&self) -> bool {
        match *self {}
    }
}

pub(super) fn find(_: &Path) -> Option<FileIdentity> {
    None
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}
