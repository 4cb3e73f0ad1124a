//! A successor that no process supervises any more, because the one that started it has ended.
//!
//! It holds the lock `replacing` until it serves or ends. The lock file has a note that names it, so that one that hangs keeps
//! nobody from the service for longer than the service's start timeout.

use crate::broker::backend_handle::KILL_TIMEOUT;
use crate::broker::service::find_error::FindError;
use crate::broker::service::operation::OperationWait;
use crate::broker::service::paths::ServicePaths;
use crate::sys::{LockHolder, ProcessHandle};
use crate::transport::{BindError, InstanceLock};
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::time::{Duration, Instant, SystemTime};

/// The successor, which holds `replacing` and is not the daemon.
#[derive(Debug)]
pub(in crate::broker::service) struct Abandoned {
    pub(in crate::broker::service) process: ProcessHandle,
    began: SystemTime,
}

/// Writes into the file of the lock that `successor` gets it.
pub(in crate::broker::service) fn note(
    replacing: &InstanceLock,
    successor: &ProcessHandle,
) -> io::Result<()> {
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let note = format!("{} {} {}\n", successor.pid(), successor.start_time()?, began.as_secs());
    let mut file = replacing.file();
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(note.as_bytes())
}

/// Returns the process id and the start time of the successor that was started last; `None` if none was.
pub(in crate::broker::service) fn noted(paths: &ServicePaths) -> Option<(u32, u64)> {
    read(paths).map(|(pid, start_time, _)| (pid, start_time))
}

fn read(paths: &ServicePaths) -> Option<(u32, u64, SystemTime)> {
    fs::read_to_string(paths.replacing()).ok().and_then(|text| parse(&text))
}

/// Returns the successor that is abandoned, if there is one.
pub(in crate::broker::service) fn find(paths: &ServicePaths) -> Result<Option<Abandoned>, FindError> {
    let path = paths.replacing();
    let Some((pid, start_time, began)) = read(paths) else { return Ok(None) };
    let Some(holder) = InstanceLock::holder(&path).map_err(FindError::Lock)? else { return Ok(None) };
    let may_hold = holder == LockHolder::Unknown || holder.pids().contains(&pid);
    // A process that replaces the daemon announces it. The note is an earlier one if it names the daemon.
    if !may_hold
        || OperationWait::at(&paths.replacing_announced()).is_some()
        || paths.identity()?.is_some_and(|identity| identity.pid == pid)
    {
        return Ok(None);
    }
    let unusable = |error| {
        FindError::Lock(BindError::Io {
            path: path.display().to_string(),
            source: std::sync::Arc::new(error),
        })
    };
    let process = ProcessHandle::open(pid).map_err(unusable)?;
    let process = process.filter(|process| process.start_time().is_ok_and(|found| found == start_time));
    Ok(process.map(|process| Abandoned { process, began }))
}

/// Returns the holder of the lock `replacing` if it neither replaces the daemon nor was started to succeed it.
pub(in crate::broker::service) fn orphan(paths: &ServicePaths) -> Result<Option<LockHolder>, FindError> {
    if OperationWait::at(&paths.replacing_announced()).is_some() || find(paths)?.is_some() {
        return Ok(None);
    }
    let holder = InstanceLock::holder(&paths.replacing()).map_err(FindError::Lock)?;
    // A process that has taken the lock itself replaces the daemon, and may have failed to announce it.
    Ok(holder.filter(|holder| !matches!(holder, LockHolder::Owner { .. })))
}

/// Ends the successor that is abandoned, if there is one and it was started longer than `start_timeout` ago. If the clock was set
/// back since, it counts as that old.
pub(in crate::broker::service) fn end_hanging(
    paths: &ServicePaths,
    start_timeout: Duration,
) -> Result<(), FindError> {
    if let Some(abandoned) = find(paths)?
        && is_late(abandoned.began, start_timeout)
    {
        // If it cannot be ended, its lock stays held, which is told.
        let _best_effort = abandoned
            .process
            .kill()
            .and_then(|()| abandoned.process.wait_exit(Some(Instant::now() + KILL_TIMEOUT)));
    }
    Ok(())
}

fn is_late(began: SystemTime, start_timeout: Duration) -> bool {
    began.elapsed().map_or(true, |age| age > start_timeout)
}

/// Returns the process id, the start time and the moment of the start in a note.
fn parse(text: &str) -> Option<(u32, u64, SystemTime)> {
    let mut words = text.split_ascii_whitespace();
    let (pid, start_time) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let began = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(words.next()?.parse().ok()?))?;
    Some((pid, start_time, began))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_late_after_the_timeout_and_if_the_clock_was_set_back() {
        let (now, minute) = (SystemTime::now(), Duration::from_mins(1));
        assert!(!is_late(now, minute));
        assert!(is_late(now - 2 * minute, minute));
        assert!(is_late(now + 2 * minute, minute));
    }

    #[test]
    fn a_note_has_three_numbers() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(17);
        assert_eq!(parse("4711 815 17\n"), Some((4711, 815, began)));
        for damaged in ["", "4711", "4711 815", "a 815 17", "4711 -1 17", "99999999999 1 1"] {
            assert_eq!(parse(damaged), None, "{damaged:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_successor_is_abandoned_while_it_holds_the_lock_and_no_process_replaces_the_daemon() {
        use crate::broker::backend_lifecycle::identity::DaemonProcess;
        use crate::broker::backend_lifecycle::identity_file::{
            remove_daemon_identity_file, write_daemon_identity_file,
        };
        use crate::broker::protocol::Endpoint;
        use crate::broker::service::operation::Operation;
        use crate::broker::service::scratch::ScratchService;
        use std::process::{Command, Stdio};

        let ScratchService { paths, .. } = &ScratchService::new("left");
        let found = || find(paths).unwrap().map(|abandoned| abandoned.process.pid());
        let orphaned = || orphan(paths).unwrap().and_then(|holder| holder.pid());
        let replacing = InstanceLock::try_take(&paths.replacing()).unwrap().unwrap();
        assert_eq!((noted(paths), found(), orphaned()), (None, None, None));
        let own = ProcessHandle::open(std::process::id()).unwrap().unwrap();
        note(&replacing, &own).unwrap();
        assert_eq!(noted(paths), Some((own.pid(), own.start_time().unwrap())));
        assert_eq!((found(), orphaned()), (Some(own.pid()), None));

        // An announced replacement goes on, and one whose successor is the daemon is over.
        let announced = Operation::announce(paths.replacing_announced()).unwrap();
        assert_eq!((found(), orphaned()), (None, None));
        announced.withdraw();
        let endpoint = Endpoint::unix_socket("left", paths.socket_path().to_str().unwrap()).unwrap();
        let daemon = DaemonProcess::current_process(endpoint, None).unwrap();
        write_daemon_identity_file(&paths.identity_file(), &daemon).unwrap();
        assert_eq!(found(), None);
        remove_daemon_identity_file(&paths.identity_file());

        // `cat` gets a copy of the lock, as a successor does, and this process gives its own up.
        let (input, end) = io::pipe().unwrap();
        let copy = replacing.file().try_clone().unwrap();
        let mut holder = Command::new("cat").stdin(input).stdout(copy).stderr(Stdio::null()).spawn().unwrap();
        drop(replacing);
        // A child that another test is just starting has a copy as well, until it runs its program.
        let becomes = |expected: (Option<u32>, Option<u32>)| {
            let until = Instant::now() + Duration::from_secs(20);
            while (found(), orphaned()) != expected {
                assert!(Instant::now() < until, "{expected:?}: {:?}", (found(), orphaned()));
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        // The note names another process.
        becomes((None, Some(holder.id())));
        let note_again = fs::OpenOptions::new().write(true).truncate(true).open(paths.replacing()).unwrap();
        let successor = ProcessHandle::open(holder.id()).unwrap().unwrap();
        writeln!(&note_again, "{} {} 1", holder.id(), successor.start_time().unwrap()).unwrap();
        becomes((Some(holder.id()), None));
        drop(end);
        holder.wait().unwrap();
        becomes((None, None));
    }
}
