//! The cache of digests: in memory, and for later processes on disk.

use super::disk::DiskCache;
use super::entry::Entry;
use super::hash::Wanted;
use super::key::FileKey;
use super::read::Digested;
use super::rule::{Facts, Moment, Remember, remember};
use super::system;
use crate::broker::backend_lifecycle::identity::ExeDigests;
use crate::sys::ProcessHandle;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Number of files in memory: a process meets its own executable and those of a few daemons.
const MEMORY_ENTRIES: usize = 64;

/// A cache of digests of images that were read before. It only saves time: if anything in it fails, the image is read
/// again.
#[derive(Debug, Default)]
pub(crate) struct DigestCache {
    /// The entries, oldest first, at most [`MEMORY_ENTRIES`].
    memory: Mutex<VecDeque<Entry>>,
    /// The image of this process, which it runs until it ends.
    own: Mutex<Option<(FileKey, ExeDigests)>>,
    disk: Option<DiskCache>,
}

/// The moment before an image was inspected; `None` if the clocks could not be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before(pub(super) Option<Moment>);

impl Before {
    pub(crate) fn now() -> Self {
        Self(Moment::now())
    }
}

impl DigestCache {
    /// Returns the cache of this process, with the user's cache directory behind it.
    pub(crate) fn of_process() -> &'static Self {
        static CACHE: LazyLock<DigestCache> =
            LazyLock::new(|| DigestCache { disk: DiskCache::of_user(), ..DigestCache::default() });
        &CACHE
    }

    /// Returns a cache with an empty memory, and its directory below `base`.
    #[cfg(test)]
    pub(super) fn below(base: &std::path::Path) -> Self {
        Self { disk: Some(DiskCache::below(base.to_owned())), ..Self::default() }
    }

    /// Returns the digests of the file with this `metadata`, if the `wanted` ones are remembered.
    pub(crate) fn find(&self, metadata: &Metadata, wanted: Wanted) -> Option<ExeDigests> {
        let now = Moment::now()?;
        let digests = if metadata.is_file() { self.get(&FileKey::of(metadata), now.offset) } else { None };
        digests.filter(|digests| wanted.is_in(digests))
    }

    /// Returns both digests of the image of this process, which has this `metadata`, if they are remembered.
    pub(crate) fn find_own(&self, metadata: &Metadata) -> Option<ExeDigests> {
        let own = *lock(&self.own);
        match own {
            Some((key, digests)) if key == FileKey::of(metadata) => Some(digests),
            _ => self.find(metadata, Wanted::Both),
        }
    }

    /// Remembers the digests of `image`, which `process` was seen to run after the moment `before`, if it still does
    /// and the [rule](super::rule) allows it.
    pub(crate) fn keep(&self, image: &File, read: &Digested, process: &ProcessHandle, before: Before) {
        let still_runs = || {
            let found = process.image_metadata();
            found.is_ok_and(|found| found.is_some_and(|found| FileKey::of(&found) == read.key))
        };
        if system::refuses_writers() && still_runs() && judge(image, read, before) == Remember::ByKey {
            self.put(read, before);
        }
    }

    /// Remembers the digests of `image`, which this process runs.
    pub(crate) fn keep_own(&self, image: &File, read: &Digested, before: Before) {
        match judge(image, read, before) {
            Remember::Not => return,
            Remember::WhileItRuns => {}
            Remember::ByKey => self.put(read, before),
        }
        *lock(&self.own) = Some((read.key, read.digests));
    }

    fn put(&self, read: &Digested, before: Before) {
        let Before(Some(Moment { offset, .. })) = before else { return };
        // A client may have read the file for the other digest before.
        let known = self.get(&read.key, offset);
        let digests = known.map_or(read.digests, |known| union(&read.digests, &known));
        self.remember(Entry { key: read.key, offset, digests });
    }

    pub(super) fn get(&self, key: &FileKey, offset: i64) -> Option<ExeDigests> {
        let holds = |entry: &Entry| entry.key == *key && !Moment::is_step(entry.offset, offset);
        let found = lock(&self.memory).iter().find(|entry| holds(entry)).copied();
        let entry = found.or_else(|| {
            let entry = self.disk.as_ref()?.read(key).filter(holds)?;
            self.remember_in_memory(entry);
            Some(entry)
        });
        entry.map(|entry| entry.digests)
    }

    pub(super) fn remember(&self, entry: Entry) {
        self.remember_in_memory(entry);
        if let Some(disk) = &self.disk {
            disk.write(&entry);
        }
    }

    fn remember_in_memory(&self, entry: Entry) {
        let mut memory = lock(&self.memory);
        memory.retain(|known| known.key != entry.key);
        if memory.len() >= MEMORY_ENTRIES {
            memory.pop_front();
        }
        memory.push_back(entry);
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        lock(&self.memory).len()
    }
}

/// Returns the digests of one file that either knows.
fn union(one: &ExeDigests, other: &ExeDigests) -> ExeDigests {
    let sha256 = one.sha256().or(other.sha256());
    let blake3 = one.blake3().or(other.blake3());
    ExeDigests::from_known(sha256.copied(), blake3.copied()).unwrap_or(*one)
}

fn judge(image: &File, read: &Digested, Before(before): Before) -> Remember {
    remember(&Facts {
        writers_refused: system::refuses_writers(),
        file_system: system::file_system(image),
        changed: read.key.changed,
        before,
        after: Moment::now(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic changes it halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
