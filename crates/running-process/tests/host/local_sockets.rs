//! The list of listening sockets, against real ones.

use super::support::{ChildProcess, in_child_process, test_name};
use running_process::broker::local_sockets::{ListeningSocket, SocketName, listening_sockets};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// A user who owns nothing here.
const NOBODY: u32 = 65_534;
/// The path of a socket, for a process of its own.
const SOCKET_VARIABLE: &str = "TEST_SOCKET";

fn list() -> Vec<ListeningSocket> {
    listening_sockets(Instant::now() + Duration::from_secs(20)).unwrap()
}

fn inode_of(socket: &impl AsFd) -> u64 {
    rustix::fs::fstat(socket).unwrap().st_ino
}

fn find(inode: u64) -> Option<ListeningSocket> {
    list().into_iter().find(|socket| socket.inode == inode)
}

fn named(name: &Path) -> Option<ListeningSocket> {
    list().into_iter().find(|socket| socket.name == SocketName::Path(name.into()))
}

fn pids(socket: &ListeningSocket) -> Vec<u32> {
    socket.owners.iter().map(|owner| owner.pid).collect()
}

#[test]
fn a_socket_is_listed_while_it_listens_with_its_name_user_queue_and_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let before = SystemTime::now();
    let listener = UnixListener::bind(&path).unwrap();
    let inode = inode_of(&listener);
    let _waiting = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];

    let socket = find(inode).unwrap();
    assert_eq!(socket.name, SocketName::Path(path.clone()));
    assert_eq!(socket.uid, Some(rustix::process::geteuid().as_raw()));
    assert_eq!(socket.queue.unwrap().waiting, 2);
    assert!(socket.queue.unwrap().limit > 2);
    let [owner] = &socket.owners[..] else { panic!("{socket:?}") };
    assert_eq!(owner.pid, std::process::id());
    assert_eq!(owner.program.as_deref(), Some(&*std::env::current_exe().unwrap()));
    let age = before.duration_since(owner.started_at.unwrap()).unwrap();
    assert!(age < Duration::from_hours(1), "this process started {age:?} ago");

    drop(listener);
    assert_eq!(find(inode), None);
}

#[test]
fn names_are_told_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let not_utf8 = directory.path().join(OsStr::from_bytes(b"line\nfeed \xff"));
    let by_path = UnixListener::bind(&not_utf8).unwrap();
    let abstract_name = [format!("running-process {}", std::process::id()).as_bytes(), b"\0\xff"].concat();
    let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
    let by_abstract_name = UnixListener::bind_addr(&address).unwrap();

    assert_eq!(find(inode_of(&by_path)).unwrap().name, SocketName::Path(not_utf8));
    let found = find(inode_of(&by_abstract_name)).unwrap();
    assert!(found.name.to_string().starts_with("@running-process "), "{}", found.name);
    assert_eq!(found.name, SocketName::Abstract(abstract_name));
    assert_eq!(found.is_reachable(), Some(true));
}

#[test]
fn a_socket_that_does_not_listen_is_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (client, accepted) = (UnixStream::connect(&path).unwrap(), listener.accept().unwrap().0);
    let datagrams = std::os::unix::net::UnixDatagram::bind(directory.path().join("datagrams")).unwrap();
    for inode in [inode_of(&client), inode_of(&accepted), inode_of(&datagrams)] {
        assert_eq!(find(inode), None);
    }
}

#[test]
fn every_process_with_the_socket_is_an_owner_and_one_that_has_ended_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
    let inode = inode_of(&listener);
    let child = |listener: &UnixListener| {
        let descriptor = OwnedFd::from(listener.try_clone().unwrap());
        ChildProcess::spawn(Command::new("sleep").arg("1000").stdin(Stdio::from(descriptor)))
    };
    let (one, other) = (child(&listener), child(&listener));

    let mut all = [std::process::id(), one.id(), other.id()];
    all.sort_unstable();
    assert_eq!(pids(&find(inode).unwrap()), all);
    drop(listener);
    drop(one);
    assert_eq!(pids(&find(inode).unwrap()), [other.id()]);
    drop(other);
    assert_eq!(find(inode), None);
}

#[test]
fn a_path_that_is_gone_or_leads_to_another_socket_does_not_reach_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let find_it = || find(inode_of(&listener)).unwrap();
    // A file system may show other numbers than the kernel has; then they say nothing.
    let numbered = find_it().is_at_its_path();
    assert!(matches!(numbered, Some(true) | None), "{numbered:?}");
    assert_eq!(find_it().is_reachable(), numbered);

    let is_gone = |certain: bool| {
        let socket = find_it();
        let not_here = if certain { Some(false) } else { None };
        assert_eq!(socket.is_at_its_path(), not_here);
        // Another owner may find it elsewhere.
        assert_eq!(socket.is_reachable(), not_here.filter(|_| socket.has_all_owners));
    };
    fs::remove_file(&path).unwrap();
    is_gone(true);
    let successor = UnixListener::bind(&path).unwrap();
    is_gone(numbered.is_some());
    assert_eq!(find(inode_of(&successor)).unwrap().is_at_its_path(), numbered);
    drop(successor);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a file").unwrap();
    is_gone(true);
}

#[test]
fn no_owner_is_claimed_once_the_deadline_has_passed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let sockets = listening_sockets(Instant::now()).unwrap();
    let socket = sockets.iter().find(|socket| socket.name == SocketName::Path(path.clone())).unwrap();
    assert_eq!((pids(socket), socket.has_all_owners), (vec![], false));
}

#[test]
fn the_owners_of_another_users_socket_are_unknown_and_not_wrong() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root becomes another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    // Where a user who owns nothing may run it.
    let program = directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(program)
        .args(["--exact", test_name!("a_foreign_socket"), "--ignored", "--nocapture"])
        .env(SOCKET_VARIABLE, &path)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "what the test above runs as another user"]
fn a_foreign_socket() {
    let path = std::env::var_os(SOCKET_VARIABLE).unwrap();
    let socket = named(Path::new(&path)).unwrap();
    assert_eq!((socket.uid, pids(&socket), socket.has_all_owners), (Some(0), vec![], false));
    let own = UnixListener::bind_addr(&SocketAddr::from_abstract_name("of a user who owns nothing").unwrap());
    let own = find(inode_of(&own.unwrap())).unwrap();
    assert_eq!((own.uid, pids(&own)), (Some(NOBODY), vec![std::process::id()]));
}

#[test]
fn a_socket_of_another_network_namespace_is_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    assert!(named(&path).is_some());
    in_namespaces(&["--net"], test_name!("an_empty_network_namespace"), &path);
}

/// Runs a test in namespaces of its own.
fn in_namespaces(namespaces: &[&str], test: &str, socket: &Path) {
    if !Command::new("unshare").args(namespaces).arg("true").output().is_ok_and(|made| made.status.success())
    {
        eprintln!("skipped: this user cannot unshare {namespaces:?}");
        return;
    }
    in_child_process(test, |command| {
        let mut unshare = Command::new("unshare");
        unshare.args(namespaces).arg(command.get_program()).args(command.get_args());
        *command = unshare;
        command.env(SOCKET_VARIABLE, socket);
    });
}

#[test]
#[ignore = "what the test above runs in a network namespace"]
fn an_empty_network_namespace() {
    let path = std::env::var_os(SOCKET_VARIABLE).unwrap();
    assert_eq!(named(Path::new(&path)), None);
    // The namespace has no other processes' sockets, and a new one is found.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    assert_eq!(pids(&named(&path).unwrap()), [std::process::id()]);
}

#[test]
fn numbers_of_another_pid_namespace_are_not_taken_for_owners() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let test = test_name!("a_socket_of_processes_without_numbers");
    // First `/proc` is still that of this namespace, then it shows the new one alone.
    in_namespaces(&["--pid", "--fork"], test, &path);
    in_namespaces(&["--pid", "--fork", "--mount-proc"], test, &path);
}

#[test]
#[ignore = "what the test above runs in a pid namespace"]
fn a_socket_of_processes_without_numbers() {
    let path = std::env::var_os(SOCKET_VARIABLE).unwrap();
    let socket = named(Path::new(&path)).unwrap();
    assert_eq!((pids(&socket), socket.has_all_owners), (vec![], false));
}
