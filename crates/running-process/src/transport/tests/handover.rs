//! The endpoint of a daemon in two hands: its descriptors, as another process gets them, belong to the same open files.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};
use std::sync::Arc;

#[cfg(target_os = "linux")]
use crate::sys::LockHolder;
use crate::transport::{BindError, FileIdentity, HeldLock, InstanceLock, LocalListener, LocalStream};

/// A daemon's endpoint.
struct Endpoint {
    directory: tempfile::TempDir,
    lock: HeldLock,
    listener: LocalListener,
}

impl Endpoint {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lock = InstanceLock::try_take(&directory.path().join("lock")).unwrap().unwrap();
        let lock = HeldLock::new(lock);
        let path = directory.path().join("s");
        let listener = LocalListener::bind_locked(path.to_str().unwrap(), lock.clone()).unwrap();
        Self { directory, lock, listener }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn lock_path(&self) -> PathBuf {
        self.directory.path().join("lock")
    }

    /// Returns copies of the descriptors, and the identity of the socket's file.
    fn passed(&self) -> (File, OwnedFd, FileIdentity) {
        let lock = self.lock.with_file(|file| file.try_clone().unwrap()).unwrap();
        let (socket, file) = self.listener.shared_socket().unwrap().get().unwrap();
        (lock, socket.try_clone().unwrap(), file)
    }

    /// Returns the endpoint as a successor has it.
    fn successor(&self) -> (HeldLock, LocalListener) {
        let (lock, socket, file) = self.passed();
        let lock = HeldLock::borrowed(InstanceLock::from_file(lock, &self.lock_path()).unwrap());
        let path = self.path();
        let listener =
            LocalListener::from_handover(path.to_str().unwrap(), socket, file, lock.clone()).unwrap();
        (lock, listener)
    }
}

/// Checks that a client reaches `listener` at `path`, and that no other process can take the lock beside it.
#[track_caller]
fn assert_reached(listener: &LocalListener, path: &Path) {
    let client = LocalStream::connect(path.to_str().unwrap()).unwrap();
    assert!(listener.accept_now().unwrap().is_some());
    drop(client);
    assert!(InstanceLock::is_held(&path.with_file_name("lock")).unwrap());
}

/// Checks that the name and the lock are free, as after the end of a daemon.
#[track_caller]
fn assert_free(path: &Path) {
    assert!(!path.exists());
    assert!(!InstanceLock::is_held(&path.with_file_name("lock")).unwrap());
}

#[test]
fn a_listener_that_was_left_only_closes() {
    let old = Endpoint::new();
    let (lock, listener) = old.successor();
    let path = old.path();
    let waiting = LocalStream::connect(path.to_str().unwrap()).unwrap();
    old.lock.leave();
    lock.own();
    old.listener.close();
    assert!(old.listener.accept_waiting().unwrap().is_none(), "it is the successor's");
    old.listener.end();
    let Endpoint { directory: _directory, lock: left, listener: former } = old;
    drop((left, former));
    assert!(listener.accept_now().unwrap().is_some(), "it waits for the successor");
    drop(waiting);
    assert_reached(&listener, &path);
    drop((lock, listener));
    assert_free(&path);
}

#[test]
fn a_listener_that_was_left_is_not_published_again() {
    let mut old = Endpoint::new();
    let (lock, mut listener) = old.successor();
    old.listener.watch_service().unwrap();
    listener.watch_service().unwrap();
    old.lock.leave();
    lock.own();
    std::fs::remove_file(old.path()).unwrap();
    assert!(!old.listener.is_name_lost());
    let republished = old.listener.publish_again().unwrap();
    assert!(!republished.renewed && republished.waiting.is_empty());
    assert!(!old.path().exists());
    assert!(listener.is_name_lost());
    assert!(listener.publish_again().unwrap().renewed);
    assert_reached(&listener, &old.path());
}

#[test]
fn a_borrowed_listener_only_closes_until_it_is_owned() {
    let old = Endpoint::new();
    let (lock, listener) = old.successor();
    assert!(listener.is_handed_over() && !old.listener.is_handed_over());
    listener.close();
    listener.end();
    drop((lock, listener));
    assert_reached(&old.listener, &old.path());

    let (lock, listener) = old.successor();
    lock.own();
    assert!(!listener.is_handed_over());
    let path = old.path();
    old.lock.leave();
    drop((lock, listener));
    assert_free(&path);
}

#[test]
fn a_successor_that_gives_up_leaves_the_lock() {
    let old = Endpoint::new();
    let (lock, listener) = old.successor();
    lock.leave();
    assert!(!lock.is_owner() && !lock.is_borrowed() && !lock.is_in_place());
    assert!(lock.with_file(|_| ()).is_none());
    // A lock that was left is not owned again.
    lock.own();
    assert!(!lock.is_owner());
    drop((lock, listener));
    assert_reached(&old.listener, &old.path());
    let Endpoint { directory, lock, listener } = old;
    drop((lock, listener));
    assert_free(&directory.path().join("s"));
}

#[test]
fn only_the_socket_of_the_name_is_taken_over() {
    let old = Endpoint::new();
    let elsewhere = Endpoint::new();
    let (_, socket, file) = old.passed();
    let (_, other_socket, other_file) = elsewhere.passed();
    let lock = || {
        let (lock, ..) = old.passed();
        HeldLock::borrowed(InstanceLock::from_file(lock, &old.lock_path()).unwrap())
    };
    let path = old.path();
    let path = path.to_str().unwrap();
    let take = |socket: OwnedFd, file| LocalListener::from_handover(path, socket, file, lock());
    let copy = |socket: &OwnedFd| socket.try_clone().unwrap();
    let connection: OwnedFd = UnixStream::connect(path).unwrap().into();
    let no_socket: OwnedFd = File::open(old.lock_path()).unwrap().into();
    for (socket, file) in [
        (copy(&other_socket), file),
        (copy(&socket), other_file),
        (copy(&other_socket), other_file),
        (connection, file),
        (no_socket, file),
    ] {
        let refused = take(socket, file);
        assert!(matches!(refused, Err(BindError::OtherSocket { .. })), "{refused:?}");
    }
    drop(take(copy(&socket), file).unwrap());
    // Another socket has the name by now.
    std::fs::remove_file(path).unwrap();
    assert!(matches!(take(copy(&socket), file), Err(BindError::OtherSocket { .. })));
    let _other = UnixListener::bind(path).unwrap();
    assert!(matches!(take(copy(&socket), file), Err(BindError::OtherSocket { .. })));
}

#[test]
fn the_socket_for_other_threads_is_the_one_that_listens_now() {
    let mut old = Endpoint::new();
    let shared = old.listener.shared_socket().unwrap();
    let (first, file) = shared.get().unwrap();
    assert!(shared.is_in_place());
    shared.listen_again().unwrap();
    std::fs::remove_file(old.path()).unwrap();
    assert!(!shared.is_in_place());
    old.listener.publish_again().unwrap();
    let (second, other_file) = shared.get().unwrap();
    assert!(shared.is_in_place() && file != other_file && !Arc::ptr_eq(&first, &second));
    drop((first, second));
    drop(old);
    assert!(shared.get().is_none());
    assert!(shared.listen_again().is_err());
}

#[test]
#[cfg(target_os = "linux")]
fn the_holder_of_a_lock_that_was_left_is_the_other_process() {
    let old = Endpoint::new();
    let (lock, ..) = old.passed();
    let mut other = Command::new("sleep")
        .arg("300")
        .stdin(lock)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let holder = || InstanceLock::holder(&old.lock_path()).unwrap().unwrap();
    assert_eq!(holder(), LockHolder::Owner { pid: std::process::id() });
    old.lock.leave();
    let left = holder();
    let of_dead = other.kill().and_then(|()| other.wait());
    // This process took the lock first, and that is what `/proc/locks` goes on telling.
    let LockHolder::Inherited { pids } = left else { panic!("{left:?}") };
    assert!(pids.contains(&other.id()) && !pids.contains(&std::process::id()), "{pids:?}");
    of_dead.unwrap();
}
