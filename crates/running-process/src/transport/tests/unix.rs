//! Behaviour of sockets and of owning their names.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::{BindError, ConnectError, LocalListener, LocalStream, NameError, StopSignal};
use super::{in_millis, pair, soon, watched};

fn path_in(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

/// What a daemon leaves behind that was killed. It never listens, because a child that another test is starting might
/// keep it open for a moment.
fn stale_socket(path: &str) -> u64 {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};

    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    fs::symlink_metadata(path).unwrap().ino()
}

/// A socket with room for one waiting connection.
#[cfg(target_os = "linux")]
fn narrow(path: &str) -> std::os::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 1).unwrap();
    listener
}

#[cfg(target_os = "linux")]
fn fill_the_backlog(path: &str) -> (Vec<LocalStream>, ConnectError) {
    let mut waiting = Vec::new();
    loop {
        match LocalStream::connect(path) {
            Ok(stream) => waiting.push(stream),
            Err(error) => return (waiting, error),
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_backlog_is_an_answer_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let _listener = narrow(&path);
    watched(move || {
        let (_waiting, error) = fill_the_backlog(&path);
        assert!(matches!(error, ConnectError::BacklogFull { .. }), "{error:?}");
        // The socket is alive: nobody may take its name.
        assert!(matches!(LocalListener::bind(&path), Err(BindError::InUse { .. })));
    });
}

/// Descriptors are counted for the whole process, so the test has one of its own: see the next test.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "started by the next test in a process of its own"]
fn failed_connections_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let _listener = narrow(&path);
    let (_waiting, _) = fill_the_backlog(&path);
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..100 {
        LocalStream::connect(&path).unwrap_err();
        LocalListener::bind(&path).unwrap_err();
        LocalStream::connect("/nothing/here").unwrap_err();
    }
    assert_eq!(open(), before);
}

#[test]
#[cfg(target_os = "linux")]
fn connections_that_fail_leave_no_descriptor_behind() {
    let test = concat!(module_path!(), "::failed_connections_counted").split_once("::").unwrap().1;
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program).args(["--exact", test, "--ignored"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
fn the_socket_and_its_lock_belong_to_the_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let stale = path_in(directory.path(), "stale");
    stale_socket(&stale);
    for path in [path, stale] {
        let _listener = LocalListener::bind(&path).unwrap();
        for file in [path.clone(), format!("{path}.lock")] {
            assert_eq!(fs::symlink_metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let old = stale_socket(&path);
    assert!(matches!(LocalStream::connect(&path), Err(ConnectError::Refused { .. })));
    let listener = LocalListener::bind(&path).unwrap();
    assert_ne!(fs::symlink_metadata(&path).unwrap().ino(), old);
    let client = LocalStream::connect(&path).unwrap();
    let server = watched(move || listener.accept(&StopSignal::new().unwrap()).unwrap().unwrap());
    server.write_all_before(b"x", Some(soon())).unwrap();
    assert_eq!(client.read_before(&mut [0; 8], Some(soon())).unwrap(), 1);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "only the lock stays");
}

#[test]
fn a_stale_socket_is_replaced_without_a_moment_in_which_the_name_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let over = Arc::new(AtomicBool::new(false));
    stale_socket(&path);
    let observer = thread::spawn({
        let (path, over) = (path.clone(), over.clone());
        move || {
            let mut missing = 0;
            while !over.load(Ordering::Relaxed) {
                missing += usize::from(fs::symlink_metadata(&path).is_err());
            }
            missing
        }
    });
    for _ in 0..50 {
        let listener = LocalListener::bind(&path).unwrap();
        // A crash: the socket stays, and nobody listens any more.
        let stale = path_in(directory.path(), "stale");
        stale_socket(&stale);
        fs::rename(&stale, &path).unwrap();
        drop(listener);
    }
    over.store(true, Ordering::Relaxed);
    assert_eq!(watched(move || observer.join().unwrap()), 0);
}

#[test]
fn of_many_that_start_at_once_over_a_stale_socket_one_owns_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    stale_socket(&path);
    let start = Arc::new(std::sync::Barrier::new(16));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (path, start) = (path.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                match LocalListener::bind(&path) {
                    Ok(listener) => Some(listener),
                    Err(BindError::InUse { .. }) => None,
                    Err(error) => panic!("{error:?}"),
                }
            })
        })
        .collect();
    let owners: Vec<_> = watched(move || threads.into_iter().filter_map(|t| t.join().unwrap()).collect());
    assert_eq!(owners.len(), 1);
    LocalStream::connect(&path).unwrap();
}

#[test]
fn a_socket_that_somebody_answers_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let stranger = UnixListener::bind(&path).unwrap();
    assert!(matches!(LocalListener::bind(&path), Err(BindError::InUse { .. })));
    assert!(stranger.accept().is_ok(), "it was only asked");
}

#[test]
fn whatever_is_not_a_stream_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let in_directory = |name| path_in(directory.path(), name);
    let (file, folder, link, dangling, datagram) = (
        in_directory("file"),
        in_directory("folder"),
        in_directory("link"),
        in_directory("dangling"),
        in_directory("d"),
    );
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&folder).unwrap();
    symlink(&file, &link).unwrap();
    symlink(in_directory("nothing"), &dangling).unwrap();
    let _datagram = UnixDatagram::bind(&datagram).unwrap();
    for path in [&file, &folder, &link, &dangling, &datagram] {
        let error = LocalListener::bind(path).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{path}: {error:?}");
        fs::symlink_metadata(path).unwrap();
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    for path in [&file, &folder, &datagram] {
        let error = LocalStream::connect(path).unwrap_err();
        assert!(matches!(error, ConnectError::NotASocket { .. }), "{path}: {error:?}");
    }
}

#[test]
fn whoever_holds_the_lock_owns_the_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let lock = File::create(format!("{path}.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(LocalListener::bind(&path), Err(BindError::InUse { .. })));
    assert!(fs::symlink_metadata(&path).is_err());
    drop(lock);
    LocalListener::bind(&path).unwrap();
}

#[test]
fn a_lock_that_is_not_a_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let lock = format!("{path}.lock");
    let victim = path_in(directory.path(), "victim");
    symlink(&victim, &lock).unwrap();
    assert!(matches!(LocalListener::bind(&path), Err(BindError::NotALock { .. })));
    assert!(fs::symlink_metadata(&victim).is_err(), "nothing is followed");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(matches!(LocalListener::bind(&path), Err(BindError::NotALock { .. })));
}

#[test]
fn dropping_a_listener_removes_its_own_socket_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let listener = LocalListener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let stranger = UnixListener::bind(&path).unwrap();
    drop(listener);
    UnixStream::connect(&path).unwrap();
    drop(stranger);
    drop(LocalListener::bind(&path).unwrap());
    assert!(fs::symlink_metadata(&path).is_err());
    assert!(fs::symlink_metadata(format!("{path}.lock")).is_ok());
}

#[test]
fn the_longest_path_works_and_one_byte_more_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let max = if cfg!(target_os = "linux") { 107 } else { 103 };
    let room = max - directory.path().as_os_str().len() - 1;
    // One deep directory leaves a single character for the name, so the temporary name has no more either.
    let deep = directory.path().join("d".repeat(room - 2));
    fs::create_dir(&deep).unwrap();
    for path in [path_in(directory.path(), &"s".repeat(room)), path_in(&deep, "s")] {
        assert_eq!(path.len(), max);
        stale_socket(&path);
        let _listener = LocalListener::bind(&path).unwrap();
        LocalStream::connect(&path).unwrap();
        let longer = format!("{path}s");
        let Err(BindError::Name(error)) = LocalListener::bind(&longer) else { panic!("{longer} fits") };
        assert_eq!(error, NameError::TooLong { length: max + 1, max });
        assert!(matches!(LocalStream::connect(&longer), Err(ConnectError::Name(again)) if again == error));
        assert!(error.to_string().contains("shorter"), "{error}");
    }
}

#[test]
fn a_path_without_a_file_name_is_refused() {
    for path in ["/", "/tmp/", "..", "a/.."] {
        assert!(
            matches!(LocalListener::bind(path), Err(BindError::Name(NameError::Invalid { .. }))),
            "{path}"
        );
    }
}

#[test]
fn a_missing_directory_is_its_own_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(&directory.path().join("missing"), "s");
    assert!(matches!(LocalListener::bind(&path), Err(BindError::NoDirectory { .. })));
    assert!(matches!(LocalStream::connect(&path), Err(ConnectError::NotFound { .. })));
}

#[test]
fn half_closing_ends_one_direction() {
    let (client, server) = pair();
    client.shutdown_write().unwrap();
    assert_eq!(server.read_before(&mut [0; 8], Some(soon())).unwrap(), 0);
    server.write_all_before(b"still", Some(soon())).unwrap();
    assert_eq!(client.read_before(&mut [0; 8], Some(soon())).unwrap(), 5);
}

#[test]
fn a_socket_from_elsewhere_is_made_to_block_and_given_back_without_timeouts() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let stream = LocalStream::from(ours);
    assert_eq!(
        stream.read_before(&mut [0; 8], Some(in_millis(20))).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    let ours = UnixStream::from(stream);
    assert_eq!((ours.read_timeout().unwrap(), ours.write_timeout().unwrap()), (None, None));
    drop(theirs);
}

#[test]
fn a_socket_that_somebody_made_non_blocking_still_waits() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mode = ours.try_clone().unwrap();
    let stream = LocalStream::from(ours);
    mode.set_nonblocking(true).unwrap();
    assert_eq!(
        stream.read_before(&mut [0; 8], Some(in_millis(20))).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    let reader = thread::spawn(move || stream.read_before(&mut [0; 8], None));
    LocalStream::from(theirs).write_all_before(b"x", Some(soon())).unwrap();
    assert_eq!(watched(move || reader.join().unwrap()).unwrap(), 1);
}

#[test]
fn descriptors_are_closed_when_a_program_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let listener = LocalListener::bind(&path).unwrap();
    let stop = StopSignal::new().unwrap();
    let client = LocalStream::connect(&path).unwrap();
    let server = watched({
        let stop = stop.clone();
        move || (listener.accept(&stop).unwrap().unwrap(), listener)
    });
    for descriptor in [client.as_fd(), server.0.as_fd(), server.1.as_fd(), stop.as_fd()] {
        assert!(rustix::io::fcntl_getfd(descriptor).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}
