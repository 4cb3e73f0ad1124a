//! The daemon's log: two files of bounded size together.

use crate::broker::service::files::private;
use crate::broker::service::paths::ServicePaths;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The part of the log that a failure shows, in bytes.
const TAIL_BYTES: usize = 2048;

/// Returns the length above which a log becomes the older file, so that both together are no longer than `limit`.
pub(in crate::broker::service) fn longest(limit: u64) -> u64 {
    limit / 2
}

/// Opens the log to append to, and returns it with its length. One that is longer than [`longest`] becomes the older file first.
pub(in crate::broker::service) fn open(paths: &ServicePaths, limit: u64) -> io::Result<(File, u64)> {
    open_at(&paths.log(), limit)
}

/// Opens the log at `path`, as [`open`] does.
pub(in crate::broker::service) fn open_at(path: &Path, limit: u64) -> io::Result<(File, u64)> {
    let (log, length) = opened(path)?;
    if length <= longest(limit) {
        return Ok((log, length));
    }
    make_older(path, log)?;
    opened(path)
}

fn opened(path: &Path) -> io::Result<(File, u64)> {
    let log = private().append(true).create(true).open(path)?;
    let found = log.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a regular file", path.display()),
        ));
    }
    Ok((log, found.len()))
}

/// Makes `log` the older file if it is still the one at `path`. It is locked meanwhile: of several processes that find it too large,
/// one renames it, and none renames the new one.
#[cfg(unix)]
fn make_older(path: &Path, log: File) -> io::Result<()> {
    use crate::transport::again_if_interrupted;
    use std::fs::TryLockError;
    use std::os::unix::fs::MetadataExt;
    if matches!(again_if_interrupted(|| log.try_lock()), Err(TryLockError::WouldBlock)) {
        // Another process is about to rename it.
        return Ok(());
    }
    let opened = log.metadata()?;
    let is_there =
        path.symlink_metadata().is_ok_and(|found| (found.dev(), found.ino()) == (opened.dev(), opened.ino()));
    let renamed = if is_there { fs::rename(path, path.with_extension("1")) } else { Ok(()) };
    // A child that is about to run its program may have a copy of the descriptor.
    let _best_effort = log.unlock();
    drop(log);
    renamed
}

/// Makes `log` the older file. A lock would keep the daemon from writing to it.
#[cfg(not(unix))]
fn make_older(path: &Path, log: File) -> io::Result<()> {
    drop(log);
    fs::rename(path, path.with_extension("1"))
}

/// Returns the last whole lines of the log at `path`, after its first `from` bytes. A log that is shorter than that has been
/// replaced since: then the older file and all of the log count.
pub(in crate::broker::service) fn tail(path: &Path, from: u64) -> String {
    let older = path.with_extension("1");
    let is_replaced = path.metadata().map_or(from > 0, |found| found.len() < from);
    let files: &[(&Path, u64)] = if is_replaced { &[(&older, 0), (path, 0)] } else { &[(path, from)] };
    let mut bytes = Vec::new();
    let mut is_cut = false;
    for &(file, from) in files {
        // A log that cannot be read is no cause of anything.
        is_cut |= read_end(file, from, &mut bytes).unwrap_or_default();
    }
    let surplus = bytes.len().saturating_sub(TAIL_BYTES);
    let rest = &bytes[surplus..];
    let is_cut = is_cut || surplus > 0;
    let first = if is_cut { rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { 0 };
    String::from_utf8_lossy(&rest[first..]).trim_end().to_owned()
}

/// Adds the end of the file at `path` after its first `from` bytes to `bytes`, and returns whether some of it is left out.
fn read_end(path: &Path, from: u64, bytes: &mut Vec<u8>) -> io::Result<bool> {
    const MOST: u64 = TAIL_BYTES as u64;
    let mut log = File::open(path)?;
    let length = log.metadata()?.len();
    let start = length.saturating_sub(MOST).max(from);
    log.seek(SeekFrom::Start(start))?;
    log.take(MOST).read_to_end(bytes)?;
    Ok(start > from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_log_that_several_open_at_once_becomes_the_older_one_once() {
        use std::sync::Barrier;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let start = Barrier::new(8);
        for _ in 0..50 {
            fs::write(&path, "x".repeat(101)).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        open_at(&path, 200).unwrap();
                    });
                }
            });
            assert_eq!(fs::metadata(path.with_extension("1")).unwrap().len(), 101);
        }
    }

    #[test]
    fn a_log_becomes_the_older_one_above_half_of_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let older = path.with_extension("1");
        fs::write(&path, "x".repeat(100)).unwrap();
        assert_eq!(open_at(&path, 200).unwrap().1, 100);
        assert!(!older.exists());
        fs::write(&path, "x".repeat(101)).unwrap();
        assert_eq!(open_at(&path, 200).unwrap().1, 0);
        assert_eq!(fs::metadata(&older).unwrap().len(), 101);
    }

    #[test]
    fn the_tail_has_whole_lines_of_this_start_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert_eq!(tail(&path, 0), "");
        fs::write(&path, "before\nfirst\nsecond\n").unwrap();
        assert_eq!(tail(&path, 7), "first\nsecond");
        assert_eq!(tail(&path, 20), "");
        fs::write(path.with_extension("1"), "of this start\n").unwrap();
        assert_eq!(tail(&path, 100), "of this start\nbefore\nfirst\nsecond", "the log was replaced");
        assert_eq!(tail(&path, 7), "first\nsecond");
        let line = "x".repeat(99) + "\n";
        fs::write(&path, line.repeat(100)).unwrap();
        let tail = tail(&path, 0);
        assert!(tail.lines().all(|line| line.len() == 99), "{tail}");
        assert_eq!(tail.lines().count(), 20);
    }

    #[test]
    fn the_tail_of_a_log_that_has_gone_is_that_of_the_older_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let line = |letter: &str| letter.repeat(99) + "\n";
        fs::write(path.with_extension("1"), line("a").repeat(15)).unwrap();
        assert_eq!(tail(&path, 0), "", "this start wrote nothing");
        assert_eq!(tail(&path, 7).lines().count(), 15);
        fs::write(&path, line("b").repeat(10)).unwrap();
        let both = tail(&path, 1001);
        assert!(both.lines().all(|line| line.len() == 99), "{both}");
        assert_eq!((both.lines().count(), both.matches('b').count()), (20, 990));
    }
}
