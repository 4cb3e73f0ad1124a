//! Tests of the decision to remember an image, with real processes and the file system that the tests run on.

use super::*;
use crate::broker::backend_lifecycle::digest::read::digests_while;
use crate::broker::backend_lifecycle::digest::read::tests::{
    TestFile, digest, digests_of_bytes, unix::forge,
};
use crate::broker::backend_lifecycle::digest::rule::FileSystem;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A copy of a program that waits for the end of its input, in a directory that is removed at the end.
struct Copied(TestFile);

impl Copied {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon");
        // Another process copies it, so that no child that this process starts meanwhile can hold the copy open for
        // writing.
        assert!(Command::new("cp").arg("/bin/cat").arg(&path).status().unwrap().success());
        Self(TestFile { directory, path })
    }

    fn run(&self) -> Running {
        let child = Command::new(&self.0.path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let handle = ProcessHandle::open(child.id()).unwrap().unwrap();
        Running { child, handle }
    }

    /// Returns whether the file system keeps the time of change; otherwise prints that the test is skipped.
    fn keeps_change_time(&self) -> bool {
        let keeps =
            system::refuses_writers() && system::file_system(&self.0.open()) == FileSystem::KeepsChangeTime;
        if !keeps {
            eprintln!(
                "skipped: {} is on no file system that keeps the time of change",
                self.0.path.display()
            );
        }
        keeps
    }
}

struct Running {
    child: Child,
    handle: ProcessHandle,
}

impl Running {
    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the file that `process` runs as a verification does, and lets `cache` keep it.
fn verify(cache: &DigestCache, process: &ProcessHandle) -> Digested {
    let before = Before::now();
    let image = process.open_image().unwrap();
    let read = digest(&image.file).unwrap();
    cache.keep(&image.file, &read, process, before);
    read
}

fn is_found(cache: &DigestCache, path: &Path) -> bool {
    cache.find(&std::fs::metadata(path).unwrap(), Wanted::Both).is_some()
}

/// Verifies `process` until it is remembered, which an image that has just been written is not.
fn verify_until_remembered(cache: &DigestCache, process: &ProcessHandle) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while cache.remembered() == 0 {
        assert!(Instant::now() < deadline, "the image is not remembered");
        verify(cache, process);
    }
}

#[test]
fn this_system_tells_what_the_rule_needs() {
    assert!(Before::now().0.is_some());
    let copied = Copied::new();
    let _running = copied.run();
    let busy = File::options().write(true).open(&copied.0.path).map_err(|error| error.kind());
    assert_eq!(
        matches!(busy, Err(io::ErrorKind::ExecutableFileBusy)),
        system::refuses_writers(),
        "an image that runs is open to writers exactly if the cache says so: {busy:?}"
    );
}

#[test]
fn an_image_that_runs_is_remembered_for_every_process_that_runs_it() {
    let copied = Copied::new();
    if !copied.keeps_change_time() {
        return;
    }
    let cache = DigestCache::default();
    let first = copied.run();
    verify_until_remembered(&cache, &first.handle);
    let second = copied.run();
    let metadata = second.handle.image_metadata().unwrap().unwrap();
    let content = std::fs::read(&copied.0.path).unwrap();
    assert_eq!(cache.find(&metadata, Wanted::Both), Some(digests_of_bytes(&content)));
}

#[test]
fn an_image_that_was_just_written_is_read_again() {
    let copied = Copied::new();
    let running = copied.run();
    let cache = DigestCache::default();
    let read = digest(&copied.0.open()).unwrap();
    let (seconds, nanoseconds) = read.key.changed;
    let wall = seconds * 1_000_000_000 + nanoseconds;
    let offset = Moment::now().unwrap().offset;
    for (age, remembered) in [(49_999_999, false), (50_000_000, true)] {
        let before = Before(Some(Moment { wall: wall + age, offset }));
        cache.keep(&copied.0.open(), &read, &running.handle, before);
        assert_eq!(cache.remembered() == 1, remembered && copied.keeps_change_time(), "{age}");
    }
}

#[test]
fn a_file_that_the_process_does_not_run_any_more_is_not_remembered() {
    let (copied, other) = (Copied::new(), Copied::new());
    let cache = DigestCache::default();
    // The moment is long after both files were written.
    let before = Before(Moment::now().map(|now| Moment { wall: now.wall + 3_600_000_000_000, ..now }));
    let mut running = copied.run();
    let read = digest(&other.0.open()).unwrap();
    cache.keep(&other.0.open(), &read, &running.handle, before);
    assert_eq!(cache.remembered(), 0, "another file");
    let read = digest(&copied.0.open()).unwrap();
    running.end();
    cache.keep(&copied.0.open(), &read, &running.handle, before);
    assert_eq!(cache.remembered(), 0, "a process that has ended");
    let running = copied.run();
    cache.keep(&copied.0.open(), &read, &running.handle, before);
    assert_eq!(cache.remembered() == 1, copied.keeps_change_time(), "and it is while it runs");
}

#[test]
fn a_clock_that_was_set_meanwhile_or_since_is_noticed() {
    let copied = Copied::new();
    if !copied.keeps_change_time() {
        return;
    }
    let running = copied.run();
    let cache = DigestCache::default();
    let read = digest(&copied.0.open()).unwrap();
    let now = Moment::now().unwrap();
    let later = Moment { wall: now.wall + 3_600_000_000_000, ..now };
    let set = Moment { offset: now.offset - 10_000_000, ..later };
    for before in [Some(set), None] {
        cache.keep(&copied.0.open(), &read, &running.handle, Before(before));
        assert_eq!(cache.remembered(), 0, "{before:?}");
    }
    cache.keep(&copied.0.open(), &read, &running.handle, Before(Some(later)));
    assert!(cache.get(&read.key, now.offset).is_some());
    assert!(cache.get(&read.key, now.offset - 10_000_000).is_none());
}

#[test]
fn the_image_of_this_process_is_read_once() {
    let image = crate::sys::own_image().unwrap();
    let cache = DigestCache::default();
    let read = digest(&image.file).unwrap();
    // As if it had been written at this moment: no entry for other processes may be made.
    let (seconds, nanoseconds) = read.key.changed;
    let wall = seconds * 1_000_000_000 + nanoseconds;
    let before = Moment::now().map(|now| Moment { wall, ..now });
    cache.keep_own(&image.file, &read, Before(before));
    let known = system::refuses_writers() && system::file_system(&image.file) != FileSystem::Unknown;
    let metadata = image.file.metadata().unwrap();
    assert_eq!(cache.find_own(&metadata), known.then_some(read.digests));
    assert_eq!(cache.find(&metadata, Wanted::Both), None, "for this process alone");
    assert_eq!(cache.find_own(&std::fs::metadata("/bin/cat").unwrap()), None);
}

/// Makes `cache` remember the digests of a file, as if it had been read while it ran.
fn remember(cache: &DigestCache, path: &Path) -> Digested {
    let read = digest(&File::open(path).unwrap()).unwrap();
    let offset = Moment::now().unwrap().offset;
    cache.remember(Entry { key: read.key, offset, digests: read.digests });
    read
}

#[test]
fn a_digest_that_was_not_read_is_not_found_and_is_added_to_the_other_one() {
    let base = tempfile::tempdir().unwrap();
    let cache = DigestCache::below(base.path());
    let file = TestFile::with(b"abc");
    let metadata = std::fs::metadata(&file.path).unwrap();
    let before = Before::now();
    let read = |wanted| digests_while(&file.open(), wanted, &|| true).unwrap();
    let both = digests_of_bytes(b"abc");

    cache.put(&read(Wanted::Blake3), before);
    for cache in [&cache, &DigestCache::below(base.path())] {
        let found = cache.find(&metadata, Wanted::Blake3);
        assert_eq!(found, Some(ExeDigests::Blake3(*both.blake3().unwrap())));
        assert_eq!(cache.find(&metadata, Wanted::Sha256), None);
        assert_eq!(cache.find(&metadata, Wanted::Both), None);
    }
    // Another process adds to what this one has written.
    DigestCache::below(base.path()).put(&read(Wanted::Sha256), before);
    assert_eq!(DigestCache::below(base.path()).find(&metadata, Wanted::Both), Some(both));
}

#[test]
fn the_memory_keeps_the_latest_sixty_four() {
    let cache = DigestCache::default();
    let files: Vec<_> = (0..65_u8).map(|byte| TestFile::with(&[byte])).collect();
    for file in &files {
        remember(&cache, &file.path);
    }
    assert_eq!(cache.remembered(), 64);
    assert!(is_found(&cache, &files[64].path) && is_found(&cache, &files[1].path));
    assert!(!is_found(&cache, &files[0].path));
}

#[test]
fn a_change_shows_although_length_and_time_of_modification_are_the_same() {
    let file = TestFile::with(b"abc");
    let cache = DigestCache::default();
    remember(&cache, &file.path);
    assert!(is_found(&cache, &file.path));
    forge(&file.path, b"xyz");
    assert!(!is_found(&cache, &file.path));
}

#[test]
fn a_file_is_known_by_every_name_of_it_and_another_one_is_not() {
    let file = TestFile::with(b"abc");
    let linked = file.directory.path().join("linked");
    std::fs::hard_link(&file.path, &linked).unwrap();
    let cache = DigestCache::default();
    remember(&cache, &file.path);
    assert!(is_found(&cache, &linked));
    let open = file.open();
    std::fs::write(file.directory.path().join("new"), "xyz").unwrap();
    std::fs::rename(file.directory.path().join("new"), &file.path).unwrap();
    assert!(!is_found(&cache, &file.path));
    // Replacing changes the number of links of the old file, so it is read once more.
    assert_eq!(cache.find(&open.metadata().unwrap(), Wanted::Both), None);
}
