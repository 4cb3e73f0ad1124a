//! The lock on a file.

use std::cell::Cell;
#[cfg(unix)]
use std::fs;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::time::Duration;
use std::{io, thread};

use super::{Name, watched};
use crate::sys::LockHolder;
use crate::transport::instance_lock::again_if_interrupted;
use crate::transport::{BindError, HeldLock, InstanceLock, LocalListener, LocalStream};

fn lock_path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    (directory, path)
}

fn take(path: &std::path::Path) -> Option<InstanceLock> {
    InstanceLock::try_take(path).unwrap()
}

#[test]
fn a_lock_is_held_until_it_is_released() {
    let (_directory, path) = lock_path();
    assert!(!InstanceLock::is_held(&path).unwrap(), "there is no file");
    assert!(!path.exists(), "asking makes none");
    let lock = take(&path).unwrap();
    assert!(take(&path).is_none());
    assert!(InstanceLock::is_held(&path).unwrap());
    let holder = InstanceLock::holder(&path).unwrap().unwrap();
    let owner = LockHolder::Owner { pid: std::process::id() };
    assert_eq!(holder, if cfg!(target_os = "linux") { owner } else { LockHolder::Unknown });
    let copy = lock.file().try_clone().unwrap();
    lock.release();
    assert!(!InstanceLock::is_held(&path).unwrap());
    drop(take(&path).unwrap());
    drop(copy);
}

#[test]
#[cfg(unix)]
fn dropping_a_lock_leaves_it_to_the_copies_of_the_descriptor() {
    let (_directory, path) = lock_path();
    let lock = take(&path).unwrap();
    let copy = lock.file().try_clone().unwrap();
    drop(lock);
    assert!(take(&path).is_none());
    let adopted = InstanceLock::from_file(copy, &path).unwrap();
    assert!(adopted.is_in_place());
    drop(adopted);
    drop(take(&path).unwrap());
}

#[test]
#[cfg(unix)]
fn the_last_owner_ends_a_lock_for_the_copies_and_a_borrower_leaves_it_to_them() {
    let (_directory, path) = lock_path();
    let lock = take(&path).unwrap();
    let copy = lock.file().try_clone().unwrap();
    let first = HeldLock::new(lock);
    let last = first.clone();
    drop(first);
    assert!(InstanceLock::is_held(&path).unwrap());
    drop(last);
    assert!(!InstanceLock::is_held(&path).unwrap());
    drop(copy);
    let lock = take(&path).unwrap();
    let copy = lock.file().try_clone().unwrap();
    drop(HeldLock::borrowed(lock));
    assert!(InstanceLock::is_held(&path).unwrap());
    drop(copy);
}

#[test]
fn a_passed_lock_is_the_one_at_the_path_and_free() {
    let (directory, path) = lock_path();
    let _held = take(&path).unwrap();
    let other = directory.path().join("other");
    let elsewhere = File::create(&other).unwrap();
    #[cfg(unix)]
    assert!(matches!(
        InstanceLock::from_file(elsewhere, &path),
        Err(BindError::Lock { fault: crate::transport::LockFault::Replaced, .. })
    ));
    #[cfg(windows)]
    drop(elsewhere);
    let second = File::options().read(true).write(true).open(&path).unwrap();
    assert!(matches!(InstanceLock::from_file(second, &path), Err(BindError::InUse { .. })));
    drop(InstanceLock::from_file(File::create(&other).unwrap(), &other).unwrap());
}

#[test]
fn asking_for_the_holder_keeps_nobody_from_the_lock() {
    let (_directory, path) = lock_path();
    drop(take(&path).unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let ask = |_| {
        let (path, done) = (path.clone(), Arc::clone(&done));
        thread::spawn(move || {
            let mut free = 0_u32;
            while !done.load(Ordering::Relaxed) {
                free += u32::from(!InstanceLock::is_held(&path).unwrap());
            }
            free
        })
    };
    let asking: Vec<_> = (0..2).map(ask).collect();
    let taken =
        watched(move || (0..2000).filter(|_| take(&path).map(InstanceLock::release).is_some()).count());
    done.store(true, Ordering::Relaxed);
    let free: u32 = asking.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(taken, 2000, "{free} times it was found to be free");
}

#[test]
#[cfg(unix)]
fn a_process_that_asks_and_is_slow_keeps_nobody_from_the_lock() {
    let (_directory, path) = lock_path();
    drop(take(&path).unwrap());
    let asking = File::open(&path).unwrap();
    asking.lock_shared().unwrap();
    let taking = thread::spawn(move || take(&path).is_some());
    // As long as a process waits for its processor on a busy machine.
    thread::sleep(Duration::from_millis(100));
    drop(asking);
    assert!(watched(move || taking.join().unwrap()));
}

#[test]
fn a_signal_that_interrupts_the_wait_for_a_lock_is_no_failure() {
    let interruptions = Cell::new(3);
    let lock = || match interruptions.replace(interruptions.get() - 1) {
        0 => Ok(()),
        _ => Err(TryLockError::Error(io::ErrorKind::Interrupted.into())),
    };
    again_if_interrupted(lock).unwrap();
    let failed = again_if_interrupted(|| Err(TryLockError::Error(io::ErrorKind::StorageFull.into())));
    assert!(matches!(failed, Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn of_many_takers_one_gets_the_lock() {
    for _ in 0..50 {
        let (_directory, path) = lock_path();
        let start = Arc::new(std::sync::Barrier::new(8));
        let take = |_| {
            let (path, start) = (path.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                take(&path)
            })
        };
        let takers: Vec<_> = (0..8).map(take).collect();
        let locks = takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect::<Vec<_>>();
        assert_eq!(locks.len(), 1);
    }
}

#[test]
fn a_listener_keeps_the_lock_that_it_was_bound_under() {
    let (_directory, path) = lock_path();
    let name = Name::new();
    let lock = take(&path).unwrap();
    let listener = LocalListener::bind_locked(&name.name, HeldLock::new(lock)).unwrap();
    LocalStream::connect(&name.name).unwrap();
    assert!(take(&path).is_none());
    #[cfg(unix)]
    assert!(fs::symlink_metadata(format!("{}.lock", name.name)).is_err(), "there is no other lock");
    drop(listener);
    assert!(LocalStream::connect(&name.name).is_err());
    drop(take(&path).unwrap());
}

#[test]
#[cfg(unix)]
fn a_socket_is_bound_under_a_lock_only_where_no_process_listens() {
    let (_directory, path) = lock_path();
    let name = Name::new();
    let foreign = std::os::unix::net::UnixListener::bind(&name.name).unwrap();
    let in_use = LocalListener::bind_locked(&name.name, HeldLock::new(take(&path).unwrap()));
    assert!(matches!(in_use, Err(BindError::InUse { .. })));
    drop(foreign);
    assert!(fs::symlink_metadata(&name.name).is_ok(), "the stale socket is there");
    LocalListener::bind_locked(&name.name, HeldLock::new(take(&path).unwrap())).unwrap();
}

#[test]
#[cfg(unix)]
fn a_passed_lock_is_not_passed_on_to_children() {
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
    let (directory, path) = lock_path();
    let passed = File::create(&path).unwrap();
    fcntl_setfd(&passed, FdFlags::empty()).unwrap();
    let lock = InstanceLock::from_file(passed, &path).unwrap();
    assert_eq!(fcntl_getfd(lock.file()).unwrap(), FdFlags::CLOEXEC);
    let is_no_file = InstanceLock::from_file(File::open(directory.path()).unwrap(), directory.path());
    assert!(matches!(is_no_file, Err(BindError::NotALock { .. })));
}

#[test]
#[cfg(unix)]
fn a_lock_is_lost_with_its_path() {
    let (_directory, path) = lock_path();
    let lock = take(&path).unwrap();
    assert!(lock.is_in_place());
    fs::remove_file(&path).unwrap();
    assert!(!lock.is_in_place());
    let other = take(&path).unwrap();
    assert!(other.is_in_place() && !lock.is_in_place());
}

#[test]
#[cfg(unix)]
fn a_lock_is_no_link_and_no_directory() {
    let (directory, path) = lock_path();
    let victim = directory.path().join("victim");
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    assert!(matches!(InstanceLock::try_take(&path), Err(BindError::NotALock { .. })));
    assert!(matches!(InstanceLock::is_held(&path), Err(BindError::NotALock { .. })));
    assert!(!victim.exists(), "nothing is followed");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(InstanceLock::try_take(&path), Err(BindError::NotALock { .. })));
    assert!(matches!(InstanceLock::is_held(&path), Err(BindError::NotALock { .. })));
    let nowhere = directory.path().join("none").join("lock");
    assert!(matches!(InstanceLock::try_take(&nowhere), Err(BindError::NoDirectory { .. })));
    assert!(!InstanceLock::is_held(&nowhere).unwrap());
}

#[test]
#[cfg(unix)]
fn a_listener_that_is_published_again_keeps_the_connections_that_wait() {
    let (_directory, path) = lock_path();
    let name = Name::new();
    let mut listener = LocalListener::bind_locked(&name.name, HeldLock::new(take(&path).unwrap())).unwrap();
    assert!(!listener.publish_again().unwrap().renewed);
    let early = LocalStream::connect(&name.name).unwrap();
    early.write_all_deadline(b"early", None).unwrap();
    fs::remove_file(&name.name).unwrap();
    fs::remove_file(&path).unwrap();
    let republished = listener.publish_again().unwrap();
    assert!(republished.renewed);
    let mut received = [0; 5];
    let [waiting] = &republished.waiting[..] else { panic!("{republished:?}") };
    assert_eq!(waiting.read_deadline(&mut received, None).unwrap(), 5);
    LocalStream::connect(&name.name).unwrap();
    assert!(take(&path).is_none(), "the new lock file is locked");
    fs::remove_file(&path).unwrap();
    let other = take(&path).unwrap();
    assert!(matches!(listener.publish_again(), Err(BindError::InUse { .. })));
    drop(other);
    assert!(listener.publish_again().unwrap().renewed);
    assert!(take(&path).is_none());
}
