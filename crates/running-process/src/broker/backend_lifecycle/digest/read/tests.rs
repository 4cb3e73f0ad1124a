//! Tests of digests and of refusals, on real files.

#![cfg_attr(not(unix), allow(dead_code, reason = "most of these tests need Unix"))]

use super::*;
use crate::broker::backend_lifecycle::digest::hash::CHUNK_BYTES;
use sha2::Digest;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub(in super::super) fn digest(file: &File) -> Result<Digested, DigestError> {
    digests_while(file, Wanted::Both, &|| true)
}

/// Returns the digests and the number of bytes that were read, without the state of the file.
fn read(digested: &Digested) -> (ExeDigests, u64) {
    (digested.digests, digested.bytes_read)
}

/// Returns the digests of `content`, each by one call.
pub(in super::super) fn digests_of_bytes(content: &[u8]) -> ExeDigests {
    ExeDigests::Both {
        sha256: sha2::Sha256::digest(content).into(),
        blake3: *blake3::hash(content).as_bytes(),
    }
}

pub(in super::super) struct TestFile {
    #[cfg_attr(windows, allow(dead_code, reason = "it removes itself"))]
    pub directory: tempfile::TempDir,
    pub path: PathBuf,
}

impl TestFile {
    pub(in super::super) fn with(content: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon");
        std::fs::write(&path, content).unwrap();
        Self { directory, path }
    }

    pub(in super::super) fn open(&self) -> File {
        File::open(&self.path).unwrap()
    }
}

/// Runs `work` on a thread, and fails if it hangs.
#[cfg(unix)]
pub(in super::super) fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(Duration::from_secs(30)) {
        Ok(result) => result,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(_) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

/// Returns three chunks and a rest.
fn several_chunks() -> Vec<u8> {
    (0..3 * CHUNK_BYTES + 7).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

#[test]
fn both_digests_are_the_published_ones_of_abc() {
    fn hex(digits: &str) -> [u8; 32] {
        std::array::from_fn(|index| u8::from_str_radix(&digits[2 * index..][..2], 16).unwrap())
    }
    let digested = digest(&TestFile::with(b"abc").open()).unwrap();
    let sha256 = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let blake3 = hex("6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    assert_eq!(read(&digested), (ExeDigests::Both { sha256, blake3 }, 3));
}

#[test]
fn a_file_of_any_length_is_digested_whole_wherever_its_cursor_stands() {
    let content = several_chunks();
    for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, content.len()] {
        let file = TestFile::with(&content[..length]);
        let file = file.open();
        io::Seek::seek(&mut &file, io::SeekFrom::End(0)).unwrap();
        let digested = digest(&file).unwrap();
        assert_eq!(digested.digests, digests_of_bytes(&content[..length]), "{length}");
        assert_eq!(digested.bytes_read, length as u64);
    }
}

#[test]
fn a_deadline_that_has_passed_allows_no_read() {
    let read = digests_of(&TestFile::with(b"abc").open(), Wanted::Both, Instant::now());
    assert!(matches!(read, Err(DigestError::TimedOut)), "{read:?}");
}

#[test]
fn a_huge_file_takes_no_longer_than_the_deadline() {
    let file = TestFile::with(b"");
    File::options().write(true).open(&file.path).unwrap().set_len(3 << 30).unwrap();
    let chunks = AtomicU64::new(0);
    let start = Instant::now();
    let deadline = start + Duration::from_millis(50);
    let digested = digests_while(&file.open(), Wanted::Both, &|| {
        chunks.fetch_add(1, Ordering::Relaxed);
        Instant::now() < deadline
    });
    assert!(matches!(digested, Err(DigestError::TimedOut)), "{digested:?}");
    // Digesting all of it takes seconds. A loaded machine may be late, but not by that much.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(chunks.into_inner() < (3 << 30) / CHUNK_BYTES as u64);
}

#[test]
fn digesting_ends_once_no_caller_waits() {
    let file = TestFile::with(&several_chunks());
    let reads = AtomicU32::new(0);
    let digested = digests_while(&file.open(), Wanted::Both, &|| reads.fetch_add(1, Ordering::Relaxed) == 0);
    assert!(matches!(digested, Err(DigestError::TimedOut)), "{digested:?}");
    assert_eq!(reads.into_inner(), 2);
}

/// Digests a file of several chunks, and calls `change` after the first one.
fn changed_meanwhile(change: impl Fn(&PathBuf) + Sync) -> Result<Digested, DigestError> {
    let place = TestFile::with(&several_chunks());
    let asked = AtomicU32::new(0);
    digests_while(&place.open(), Wanted::Both, &|| {
        if asked.fetch_add(1, Ordering::Relaxed) == 1 {
            change(&place.path);
        }
        true
    })
}

#[test]
fn a_file_that_is_cut_or_extended_meanwhile_is_refused() {
    let whole = several_chunks().len() as u64;
    for length in [0, 1, CHUNK_BYTES as u64, whole - 1, whole + 1, 3 << 30] {
        let digested = changed_meanwhile(|path| {
            File::options().write(true).open(path).unwrap().set_len(length).unwrap();
        });
        assert!(matches!(digested, Err(DigestError::Changed)), "{length}: {digested:?}");
    }
}

#[cfg(unix)]
pub(in super::super) mod unix {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn what_is_not_a_regular_file_is_not_read() {
        let place = TestFile::with(b"");
        let fifo = place.directory.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let waiting = File::options().read(true).write(true).open(&fifo).unwrap();
        let directory = File::open(place.directory.path()).unwrap();
        for file in [waiting, directory, File::open("/dev/zero").unwrap()] {
            let digested = watched(move || digest(&file));
            assert!(matches!(digested, Err(DigestError::NotARegularFile)), "{digested:?}");
        }
    }

    /// Repeats `change` until the file shows another time of change.
    fn until_it_shows(path: &PathBuf, change: impl Fn()) {
        let changed = || {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.ctime(), metadata.ctime_nsec())
        };
        let before = changed();
        while changed() == before {
            change();
        }
    }

    /// Writes another content of the same length, and sets the time of modification back.
    pub(in super::super::super) fn forge(path: &PathBuf, content: &[u8]) {
        let modified = std::fs::metadata(path).unwrap().modified().unwrap();
        until_it_shows(path, || {
            std::fs::write(path, content).unwrap();
            File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        });
        assert_eq!(std::fs::metadata(path).unwrap().modified().unwrap(), modified);
    }

    #[test]
    fn a_file_that_is_written_meanwhile_is_refused_or_read_again() {
        let content = several_chunks();
        let other: Vec<_> = content.iter().map(|byte| !byte).collect();
        let written = changed_meanwhile(|path| {
            let before = std::fs::metadata(path).unwrap().modified().unwrap();
            while std::fs::metadata(path).unwrap().modified().unwrap() == before {
                std::fs::write(path, &other).unwrap();
            }
        });
        assert!(matches!(written, Err(DigestError::Changed)), "{written:?}");
        // With its time set back the file looks renamed, so it is read again, and the second reading counts.
        let forged = changed_meanwhile(|path| forge(path, &other)).unwrap();
        assert_eq!(read(&forged), (digests_of_bytes(&other), 2 * other.len() as u64));
    }

    #[test]
    fn a_file_that_is_replaced_meanwhile_is_read_again_and_one_that_never_rests_is_refused() {
        let content = several_chunks();
        let change = |path: &PathBuf| {
            let mode = std::fs::metadata(path).unwrap().permissions().mode() ^ 0o100;
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let digested = changed_meanwhile(|path| until_it_shows(path, || change(path))).unwrap();
        assert_eq!(read(&digested), (digests_of_bytes(&content), 2 * content.len() as u64));

        let place = TestFile::with(&content);
        let asked = AtomicU32::new(0);
        let digested = digests_while(&place.open(), Wanted::Both, &|| {
            asked.fetch_add(1, Ordering::Relaxed);
            until_it_shows(&place.path, || change(&place.path));
            true
        });
        assert!(matches!(digested, Err(DigestError::Changed)), "{digested:?}");
        // It is called before each of four pieces, and before the end is found.
        assert_eq!(asked.into_inner(), 5 * ATTEMPTS);
    }
}
