//! The holder of a lock, from `/proc`.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use super::lock_holder::LockHolder;

/// Returns the process that holds the flock(2) lock on `file`, which this process could not take.
///
/// The lock belongs to an open file, which the children that the owner forked have, too. `/proc/PID/fdinfo` shows it
/// for each of them, with the process that took it. Readers outside the first pid namespace do not see it once that
/// process has ended (`proc_pid_fdinfo(5)`). Processes of other users are not shown.
pub(crate) fn lock_holder(file: &File) -> LockHolder {
    let Ok(lock) = file.metadata() else { return LockHolder::Unknown };
    let Ok(processes) = fs::read_dir("/proc") else { return LockHolder::Unknown };
    let own = (std::process::id(), file.as_raw_fd().to_string());
    // Processes that surely have the lock, and those that have the file open.
    let (mut locking, mut open) = (Vec::new(), Vec::new());
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let number = descriptor.file_name();
            let same = fs::metadata(descriptor.path())
                .is_ok_and(|found| (found.dev(), found.ino()) == (lock.dev(), lock.ino()));
            if !same || (pid == own.0 && number == own.1.as_str()) {
                continue;
            }
            let information = fs::read_to_string(process.path().join("fdinfo").join(number));
            match locked_by(&information.unwrap_or_default()) {
                Some(owner) if owner == pid => return LockHolder::Owner { pid },
                Some(_) => locking.push(pid),
                None => open.push(pid),
            }
        }
    }
    let mut pids = if locking.is_empty() { open } else { locking };
    pids.dedup();
    if pids.is_empty() { LockHolder::Unknown } else { LockHolder::Inherited { pids } }
}

/// Returns the process that took the lock: the number after the kind of lock in a line such as `lock: 1: FLOCK
/// ADVISORY  WRITE 4711 08:01:131 0 EOF`.
fn locked_by(information: &str) -> Option<u32> {
    let lock = information
        .lines()
        .find_map(|line| line.strip_prefix("lock:").filter(|lock| lock.contains("FLOCK")))?;
    lock.split_ascii_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_lock_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().lock().unwrap();
        let other = File::open(file.path()).unwrap();
        assert!(other.try_lock().is_err());
        assert_eq!(lock_holder(&other), LockHolder::Owner { pid: std::process::id() });
    }

    #[test]
    fn a_line_about_a_lock_names_the_process_that_took_it() {
        let open = "pos:\t0\nflags:\t02100002\nmnt_id:\t31\nino:\t131\n";
        let locked = format!("{open}lock:\t1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF\n");
        assert_eq!(locked_by(&locked), Some(4711));
        assert_eq!(locked_by(open), None);
        assert_eq!(locked_by(&locked.replace("FLOCK", "POSIX")), None);
    }
}
