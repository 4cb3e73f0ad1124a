//! Behaviour of sockets and of owning their names.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::super::{
    BindError, ConnectError, DirectoryFault, LocalListener, LocalStream, LockFault, NameError, StopSignal,
};
use super::{in_millis, pair, soon, watched};
use crate::own_process;

fn path_in(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

/// Leaves the socket of a killed daemon behind. It never listens, because a child that another test is starting might
/// keep it open for a moment.
fn stale_socket(path: &str) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};

    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
}

/// Returns a socket with a backlog of one connection.
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
        // A process listens on the socket, so its name cannot be taken.
        assert!(matches!(LocalListener::bind(&path), Err(BindError::InUse { .. })));
    });
}

/// Counts descriptors of the whole process, so it runs in a process of its own: see the next test.
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
    in_a_process_of_its_own(failed_connections_counted);
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
    stale_socket(&path);
    assert!(matches!(LocalStream::connect(&path), Err(ConnectError::Refused { .. })));
    let listener = LocalListener::bind(&path).unwrap();
    let client = LocalStream::connect(&path).unwrap();
    let server = watched(move || listener.accept(&StopSignal::new().unwrap()).unwrap().unwrap());
    server.write_all_deadline(b"x", Some(soon())).unwrap();
    assert_eq!(client.read_deadline(&mut [0; 8], Some(soon())).unwrap(), 1);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "only the lock stays");
}

#[test]
fn a_socket_that_replaces_a_stale_one_is_known_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    stale_socket(&path);
    let listener = LocalListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(Path::new(&path)));
    let bound = rustix::net::getsockname(&listener).unwrap();
    let bound = rustix::net::SocketAddrUnix::try_from(bound).unwrap();
    assert_eq!(bound.path_bytes(), Some(path.as_bytes()));
    if cfg!(target_os = "linux") {
        let known = fs::read_to_string("/proc/net/unix").unwrap();
        assert!(known.lines().any(|line| line.ends_with(&path)), "cleaners go by this file");
    }
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
fn a_socket_with_a_listener_is_left_alone() {
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
fn the_holder_of_the_lock_owns_the_name() {
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

/// Lets a shell keep the lock that flock(1) took, as a process that a daemon forked keeps it after the daemon has
/// ended.
#[test]
#[cfg(target_os = "linux")]
fn a_lock_that_a_forked_process_keeps_is_told_apart_from_a_daemon() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    drop(LocalListener::bind(&path).unwrap());
    let script = r#"exec 9>>"$0.lock"; flock 9 || exit; echo locked; read -r end"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, &path]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut said).unwrap();
    if said.is_empty() {
        eprintln!("skipped: flock(1) is not installed");
    } else {
        let held = LocalListener::bind(&path).unwrap_err();
        assert!(
            matches!(held, BindError::HeldByChild { pid: Some(pid), .. } if pid == shell.id()),
            "{held:?}"
        );
        let ends = format!("process {}, which it forked, keeps its lock: end that one", shell.id());
        assert!(held.to_string().contains(&ends), "{held}");
    }
    drop(shell.stdin.take());
    watched(move || shell.wait().unwrap());
    LocalListener::bind(&path).unwrap();
}

/// Changes the umask of the process, so it runs in a process of its own: see the next test.
#[test]
#[ignore = "started by the next test in a process of its own"]
fn bound_with_a_umask_that_takes_everything() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o277));
    let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir().unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
    let path = path_in(directory.path(), "s");
    let lock = format!("{path}.lock");
    for before in [None, Some(0o400)] {
        if let Some(mode) = before {
            fs::set_permissions(&lock, PermissionsExt::from_mode(mode)).unwrap();
        }
        let _listener = LocalListener::bind(&path).unwrap();
        for file in [&path, &lock] {
            assert_eq!(fs::symlink_metadata(file).unwrap().mode() & 0o7777, 0o600, "{file}");
        }
        LocalStream::connect(&path).unwrap();
    }
}

#[test]
fn no_umask_makes_the_socket_or_its_lock_unusable() {
    in_a_process_of_its_own(bound_with_a_umask_that_takes_everything);
}

#[test]
#[ignore = "started by the next test in a process of its own"]
fn bound_by_a_relative_path() {
    let directory = tempfile::tempdir().unwrap();
    std::env::set_current_dir(&directory).unwrap();
    let path = path_in(&fs::canonicalize(&directory).unwrap(), "s");
    let listener = LocalListener::bind("s").unwrap();
    std::env::set_current_dir("/").unwrap();
    let client = UnixStream::connect(&path).unwrap();
    assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(Path::new(&path)));
    drop(listener);
    assert!(fs::symlink_metadata(&path).is_err());
}

#[test]
fn a_relative_path_means_the_same_after_the_working_directory_has_changed() {
    in_a_process_of_its_own(bound_by_a_relative_path);
}

#[track_caller]
fn in_a_process_of_its_own(test: impl Fn()) {
    let mut command = own_process::command(test);
    own_process::assert_passed(&watched(move || command.output().unwrap()));
}

#[test]
fn a_directory_in_which_others_can_replace_the_socket_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    for mode in [0o770, 0o707, 0o775, 0o777] {
        fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        let error = LocalListener::bind(&path).unwrap_err();
        let fault = DirectoryFault::WritableByOthers { mode };
        assert!(matches!(error, BindError::Directory { fault: found, .. } if found == fault), "{error:?}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing was made");
    }
    for mode in [0o1777, 0o755] {
        fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        LocalListener::bind(&path).unwrap();
    }
}

#[test]
fn what_belongs_to_another_user_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(directory.path(), "s");
    let lock = format!("{path}.lock");
    drop(LocalListener::bind(&path).unwrap());
    let give = |what: &Path, user| std::os::unix::fs::chown(what, Some(user), None);
    let own = fs::metadata(&lock).unwrap().uid();
    if let Err(error) = give(Path::new(&lock), own + 1) {
        eprintln!("skipped: only root can give a file away ({error})");
        return;
    }
    let error = LocalListener::bind(&path).unwrap_err();
    let fault = LockFault::ForeignOwner { owner: own + 1 };
    assert!(matches!(&error, BindError::Lock { path, fault: found } if *path == lock && *found == fault));
    assert!(error.to_string().contains("s.lock\" belongs to user 1"), "{error}");
    give(Path::new(&lock), own).unwrap();
    give(directory.path(), own + 1).unwrap();
    let error = LocalListener::bind(&path).unwrap_err();
    let fault = DirectoryFault::ForeignOwner { owner: own + 1 };
    assert!(matches!(error, BindError::Directory { fault: found, .. } if found == fault), "{error:?}");
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
    // One deep directory leaves a single character for the name.
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
    assert_eq!(server.read_deadline(&mut [0; 8], Some(soon())).unwrap(), 0);
    server.write_all_deadline(b"still", Some(soon())).unwrap();
    assert_eq!(client.read_deadline(&mut [0; 8], Some(soon())).unwrap(), 5);
}

#[test]
fn a_socket_from_elsewhere_is_made_to_block_and_given_back_without_timeouts() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let stream = LocalStream::from(ours);
    assert_eq!(
        stream.read_deadline(&mut [0; 8], Some(in_millis(20))).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    let ours = UnixStream::from(stream);
    assert_eq!((ours.read_timeout().unwrap(), ours.write_timeout().unwrap()), (None, None));
    drop(theirs);
}

#[test]
fn a_socket_that_was_made_non_blocking_still_waits() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mode = ours.try_clone().unwrap();
    let stream = LocalStream::from(ours);
    mode.set_nonblocking(true).unwrap();
    assert_eq!(
        stream.read_deadline(&mut [0; 8], Some(in_millis(20))).unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    let reader = thread::spawn(move || stream.read_deadline(&mut [0; 8], None));
    LocalStream::from(theirs).write_all_deadline(b"x", Some(soon())).unwrap();
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
