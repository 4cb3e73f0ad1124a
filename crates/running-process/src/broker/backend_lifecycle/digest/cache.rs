//! Where digests are kept: in memory, and for later processes on disk.

#[cfg(unix)]
use super::disk::DiskCache;
use super::key::FileKey;
use crate::broker::backend_lifecycle::identity::ExeDigests;
use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

/// How many files the memory remembers; a process meets its own executable and those of a few daemons.
const MEMORY_ENTRIES: usize = 64;

/// Digests of files that were read before. It only saves time: whatever goes wrong in it, the file is read again.
///
/// # Platform-specific behavior
///
/// On Windows nothing is kept on disk.
#[derive(Debug, Default)]
pub(crate) struct DigestCache {
    /// The oldest first; at most [`MEMORY_ENTRIES`].
    memory: Mutex<VecDeque<(FileKey, ExeDigests)>>,
    #[cfg(unix)]
    disk: Option<DiskCache>,
}

impl DigestCache {
    /// The one cache of this process, with the user's cache directory behind it.
    pub(crate) fn of_process() -> &'static Self {
        static CACHE: LazyLock<DigestCache> = LazyLock::new(|| DigestCache {
            memory: Mutex::default(),
            #[cfg(unix)]
            disk: DiskCache::of_user(),
        });
        &CACHE
    }

    /// A cache with nothing in memory, and on disk what is below `base`.
    #[cfg(all(test, unix))]
    pub(super) fn below(base: &std::path::Path) -> Self {
        Self { memory: Mutex::default(), disk: Some(DiskCache::below(base.to_owned())) }
    }

    pub(super) fn get(&self, key: &FileKey) -> Option<ExeDigests> {
        let found = self.memory().iter().find(|(known, _)| known == key).map(|(_, digests)| *digests);
        #[cfg(unix)]
        if found.is_none()
            && let Some(digests) = self.disk.as_ref().and_then(|disk| disk.read(key))
        {
            self.remember(key, digests);
            return Some(digests);
        }
        found
    }

    /// Keeps `digests` if the file was left alone long enough at the time `now`, before it was read.
    pub(super) fn put(&self, key: &FileKey, digests: &ExeDigests, now: SystemTime) {
        if !key.is_settled(now) {
            return;
        }
        self.remember(key, *digests);
        #[cfg(unix)]
        if let Some(disk) = &self.disk {
            disk.write(key, digests);
        }
    }

    fn remember(&self, key: &FileKey, digests: ExeDigests) {
        let mut memory = self.memory();
        memory.retain(|(known, _)| known != key);
        if memory.len() >= MEMORY_ENTRIES {
            memory.pop_front();
        }
        memory.push_back((*key, digests));
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, VecDeque<(FileKey, ExeDigests)>> {
        // Nothing is ever half done in it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.memory().len()
    }
}
