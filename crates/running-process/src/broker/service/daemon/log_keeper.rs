//! The bound of a log that this process writes.

use crate::broker::service::start::log;
use crate::sys::GrowthWatch;
use crate::transport::FileIdentity;
use rustix::fs::{fstat, lstat};
use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time between two looks at a log that is written to.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The shortest one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Keeps the log at `path` below `limit` bytes, together with the file of the former log beside it, from now until this process
/// ends. Returns `false` if the log is neither the standard output nor the standard error.
///
/// Once the log is larger than half of `limit`, it becomes the former log, and the process goes on with a new one. So it does
/// if the file was removed or replaced. The limit is exceeded by what is written between two looks: a thread
/// waits for a write, and then for a while, which is short while the log grows quickly. While nothing is written, it runs not at
/// all. What is written is lost with the former log only. Children that have the former log go on writing there.
///
/// # Errors
///
/// The system has no watch or no thread.
pub(in crate::broker::service) fn keep_log(path: &Path, limit: u64) -> io::Result<bool> {
    let Some(keeper) = LogKeeper::of(path, limit)? else { return Ok(false) };
    thread::Builder::new().name("running-process-log".to_owned()).spawn(move || keeper.keep())?;
    Ok(true)
}

struct LogKeeper {
    path: PathBuf,
    limit: u64,
    /// The log, as it was opened.
    log: File,
    watch: GrowthWatch,
}

impl LogKeeper {
    fn of(path: &Path, limit: u64) -> io::Result<Option<Self>> {
        let found = at(path);
        let Some(log) = [stdout(), stderr()].into_iter().find(|log| found.is_some() && of(log) == found)
        else {
            return Ok(None);
        };
        let log = File::from(log.try_clone_to_owned()?);
        let watch = GrowthWatch::new(&log)?;
        Ok(Some(Self { path: path.to_owned(), limit, log, watch }))
    }

    fn keep(mut self) {
        let (mut last, mut looked, mut before) =
            (self.look().unwrap_or_default(), Instant::now(), SHORTEST_PAUSE);
        while self.watch.wait().is_ok() {
            // If there is no new log, the next look tries again.
            let length = self.look().unwrap_or(last);
            let left = log::longest(self.limit).saturating_sub(length);
            let pause = pause(before, length.saturating_sub(last), looked.elapsed(), left);
            (last, looked, before) = (length, Instant::now(), pause);
            thread::sleep(pause);
        }
    }

    /// Goes on with the file at the path, which is a new one if the log is too large, and returns its length. While a daemon hands
    /// its endpoint over, it and its successor write to one log, and either may replace it.
    fn look(&mut self) -> io::Result<u64> {
        let (log, length) = log::open_at(&self.path, self.limit)?;
        let former = of(&self.log);
        if of(&log) == former {
            return Ok(length);
        }
        self.watch.change_to(&log)?;
        if of(stdout()) == former {
            dup2_stdout(&log)?;
        }
        if of(stderr()) == former {
            dup2_stderr(&log)?;
        }
        self.log = log;
        Ok(length)
    }
}

/// Returns the identity of the file at `path`.
fn at(path: &Path) -> Option<FileIdentity> {
    lstat(path).ok().map(|found| FileIdentity::of(&found))
}

/// Returns the identity of an open file.
fn of(file: impl AsFd) -> Option<FileIdentity> {
    fstat(file).ok().map(|found| FileIdentity::of(&found))
}

/// Returns the time until the next look at a log that has grown by `grown` bytes in the time `elapsed`, and may grow by `left`.
/// That is half of the time in which it would if it went on so, and at most twice the pause `before`, or twice the shortest one if
/// it did not grow for a while: it may have begun to grow only now.
fn pause(before: Duration, grown: u64, elapsed: Duration, left: u64) -> Duration {
    let before = if elapsed > 2 * LONGEST_PAUSE { SHORTEST_PAUSE } else { before };
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let part = (left as f64 / grown.max(1) as f64 / 2.0).min(1e6);
    let until_full = elapsed.min(LONGEST_PAUSE).mul_f64(part);
    until_full.min(2 * before).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_process;
    use std::fs;
    use std::io::Write;
    use std::os::fd::BorrowedFd;
    use std::process::{Command, Stdio};

    const PATH: &str = "TEST_LOG";
    /// The path to which another process moves the log, in the place of removing it.
    const FORMER: &str = "TEST_FORMER_LOG";
    const LIMIT: u64 = 8 << 20;
    /// Bytes that the child writes, bytes of each line, and bytes of each write.
    const WRITTEN: usize = 100 << 20;
    const LINE: usize = 1024;
    const BLOCK: usize = 64 * 1024;

    #[test]
    fn a_log_that_grows_quickly_is_looked_at_before_it_is_too_large() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(80), 10, ms(100), 1_000_000), LONGEST_PAUSE);
        assert_eq!(pause(ms(80), 1000, ms(10), 2000), ms(10));
        assert_eq!(pause(ms(80), 1000, ms(10), 0), SHORTEST_PAUSE);
        assert_eq!(pause(ms(80), 1000, Duration::ZERO, 2000), SHORTEST_PAUSE);
        // A line after a long time says nothing of what comes next.
        assert_eq!(pause(ms(80), 10, ms(60_000), 1_000_000), 2 * SHORTEST_PAUSE);
        assert_eq!(pause(ms(80), 10, ms(201), 1_000_000), 2 * SHORTEST_PAUSE);
        assert_eq!(pause(ms(80), 10, ms(200), 1_000_000), LONGEST_PAUSE);
    }

    /// Returns the command that runs a test of this module in a process of its own, with the log as its output and error.
    fn command(test: impl Fn(), path: &Path) -> Command {
        let log = log::open_at(path, LIMIT).unwrap().0;
        let mut command = own_process::command(test);
        command.arg("--nocapture").env(PATH, path).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    #[test]
    #[ignore = "run by the next test in a process of its own"]
    fn writer_of_a_removed_log() {
        let Ok(path) = std::env::var(PATH).map(PathBuf::from) else { return };
        assert!(keep_log(&path, LIMIT).unwrap());
        // The removal itself is an event, and the rename is none.
        match std::env::var(FORMER) {
            Ok(former) => {
                fs::rename(&path, former).unwrap();
                File::create(&path).unwrap();
                rustix::io::write(stdout(), b"before the replacement is seen\n").unwrap();
            }
            Err(_) => fs::remove_file(&path).unwrap(),
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while at(&path).is_none() || of(stdout()) != at(&path) || of(stderr()) != at(&path) {
            assert!(Instant::now() < deadline, "there is no new log");
            thread::sleep(Duration::from_millis(1));
        }
        rustix::io::write(stdout(), b"after the removal\n").unwrap();
    }

    #[test]
    fn a_log_that_another_process_has_replaced_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, former) = (directory.path().join("log"), directory.path().join("log.1"));
        let mut writer = command(writer_of_a_removed_log, &path);
        assert!(writer.env(FORMER, &former).status().unwrap().success());
        let log = fs::read_to_string(&path).unwrap();
        assert!(log.contains("after the removal\n"));
        // The first look at the log may come right after it was moved.
        let text = fs::read_to_string(&former).unwrap() + &log;
        assert!(text.contains("before the replacement is seen\n"));
    }

    #[test]
    fn a_log_that_was_removed_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(command(writer_of_a_removed_log, &path).status().unwrap().success());
        assert!(fs::read_to_string(&path).unwrap().contains("after the removal\n"));
    }

    #[test]
    fn an_output_that_is_not_the_log_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(!keep_log(&path, LIMIT).unwrap());
        fs::write(&path, "").unwrap();
        assert!(!keep_log(&path, LIMIT).unwrap());
    }

    /// Waits while `log` is longer than the limit. This process would otherwise have written all before the other thread gets a
    /// processor.
    fn await_room(log: BorrowedFd<'_>) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while u64::try_from(fstat(log).unwrap().st_size).unwrap() > LIMIT {
            assert!(Instant::now() < deadline, "a log that is too large is not replaced");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    #[ignore = "run by the next test in a process of its own"]
    fn writer() {
        let Ok(path) = std::env::var(PATH) else { return };
        assert!(keep_log(Path::new(&path), LIMIT).unwrap());
        let (mut block, mut targets) = (Vec::new(), [stdout(), stderr()].into_iter().cycle());
        for number in 0..WRITTEN / LINE {
            write!(block, "line {number:08} ").unwrap();
            block.extend_from_slice(&[b'x'; LINE - 15]);
            block.push(b'\n');
            if block.len() >= BLOCK {
                let target = targets.next().unwrap();
                await_room(target);
                assert_eq!(rustix::io::write(target, &block).unwrap(), block.len());
                block.clear();
            }
        }
        rustix::io::write(stdout(), &block).unwrap();
    }

    #[test]
    fn of_a_log_that_is_written_quickly_only_the_oldest_lines_are_lost() {
        let directory = tempfile::tempdir().unwrap();
        let (path, former) = (directory.path().join("log"), directory.path().join("log.1"));
        let mut child = command(writer, &path).spawn().unwrap();
        let length = |path: &Path| path.symlink_metadata().map_or(0, |found| found.len());
        let mut most = 0;
        let status = loop {
            most = most.max(length(&former) + length(&path));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            thread::sleep(Duration::from_millis(1));
        };
        // The child may have ended between two names.
        let text = fs::read_to_string(&former).unwrap() + &fs::read_to_string(&path).unwrap_or_default();
        assert!(status.success(), "{text:.2000}");
        println!("at most {most} bytes of {WRITTEN}, the limit is {LIMIT}");
        let numbers =
            text.lines().filter_map(|line| line.strip_prefix("line ")?.get(..8)?.parse::<usize>().ok());
        // The two descriptors change one after the other.
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        assert_eq!(numbers.last(), Some(&(WRITTEN / LINE - 1)));
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line is missing");
        assert!(most <= 2 * (LIMIT + BLOCK as u64), "{most} bytes at most");
    }
}
