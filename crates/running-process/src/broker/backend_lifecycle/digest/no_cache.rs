//! The cache of systems on which nothing is remembered. They lead to a file by its path, not to the running image, and
//! the effect of a store through a mapping on their file systems is not known.

use super::hash::Wanted;
use super::read::Digested;
use crate::broker::backend_lifecycle::identity::ExeDigests;
use crate::sys::ProcessHandle;
use std::fs::{File, Metadata};

#[derive(Debug)]
pub(crate) struct DigestCache;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Before;

impl Before {
    pub(crate) fn now() -> Self {
        Self
    }
}

#[allow(clippy::unused_self, reason = "as the cache of Linux")]
impl DigestCache {
    pub(crate) fn of_process() -> &'static Self {
        &Self
    }

    pub(crate) fn find(&self, _metadata: &Metadata, _wanted: Wanted) -> Option<ExeDigests> {
        None
    }

    pub(crate) fn find_own(&self, _metadata: &Metadata) -> Option<ExeDigests> {
        None
    }

    pub(crate) fn keep(&self, _image: &File, _read: &Digested, _process: &ProcessHandle, _before: Before) {}

    pub(crate) fn keep_own(&self, _image: &File, _read: &Digested, _before: Before) {}
}
