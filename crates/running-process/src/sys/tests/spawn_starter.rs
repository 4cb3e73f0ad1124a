//! Daemons and the processes that start them, one of which ends.

use std::fs;
use std::io::{self, BufRead};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};
#[cfg(target_os = "linux")]
use std::time::Instant;

#[cfg(target_os = "linux")]
use super::super::spawn_by_launcher;
use super::super::{Inherited, ProcessEnd, ProcessHandle, inherited_lock, spawn_detached};
use super::soon;
use super::spawn::{Place, WAYS};
use crate::own_process;

/// Prints the daemon's process id, then waits to be killed.
#[test]
#[ignore = "started by the next test in a process that it kills"]
fn starter() {
    let place = Place::new();
    let way = WAYS[usize::from(std::env::var_os("RUNNING_PROCESS_TEST_LAUNCHER").is_some())];
    let daemon = place.shell(way, "exec sleep 600");
    println!("daemon {}", daemon.pid());
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    drop(daemon);
}

fn started(launcher: bool) -> (Child, ProcessHandle) {
    let mut command = own_process::command(starter);
    command.arg("--nocapture");
    if launcher {
        command.env("RUNNING_PROCESS_TEST_LAUNCHER", "1");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = io::BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let pid =
        lines.map_while(Result::ok).find_map(|line| Some(line.split_once("daemon ")?.1.parse().unwrap()));
    (child, ProcessHandle::open(pid.unwrap()).unwrap().unwrap())
}

#[cfg(target_os = "linux")]
fn parent(process: &ProcessHandle) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_daemon_outlives_a_starter_that_is_killed_and_the_launcher_does_not() {
    for launcher in [false, true] {
        let (mut starter, daemon) = started(launcher);
        let before = parent(&daemon);
        assert_ne!(before, starter.id());
        let launcher = launcher.then(|| ProcessHandle::open(before).unwrap().unwrap());
        starter.kill().unwrap();
        starter.wait().unwrap();
        if let Some(launcher) = launcher {
            assert!(launcher.wait_exit(Some(soon())).unwrap());
            assert_ne!(parent(&daemon), before);
        }
        assert!(!daemon.has_exited().unwrap());
        daemon.kill().unwrap();
        assert!(daemon.wait_exit(Some(soon())).unwrap());
    }
}

#[test]
fn a_daemon_outlives_a_starter_that_exits() {
    for launcher in [false, true] {
        let (mut starter, daemon) = started(launcher);
        drop(starter.stdin.take());
        assert!(starter.wait().unwrap().success());
        assert!(!daemon.has_exited().unwrap());
        daemon.kill().unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn without_its_launcher_the_end_of_a_daemon_is_unknown() {
    let place = Place::new();
    let mut daemon = place.shell(spawn_by_launcher, "exec sleep 600");
    let launcher = ProcessHandle::open(parent(daemon.process())).unwrap().unwrap();
    launcher.kill().unwrap();
    assert!(launcher.wait_exit(Some(soon())).unwrap());
    assert_eq!(daemon.end(Some(Instant::now())).unwrap(), None);
    daemon.process().kill().unwrap();
    assert_eq!(daemon.end(Some(soon())).unwrap(), Some(ProcessEnd::Unknown));
}

#[test]
#[ignore = "started by the next test as a daemon with a lock"]
fn with_an_inherited_lock() {
    let found = fs::metadata("lock").unwrap();
    let expected = (found.dev(), found.ino());
    let is_missing = |number| matches!(inherited_lock(number, expected), Ok(Inherited::Nothing));
    assert!(is_missing(2) && is_missing(77));
    assert!(matches!(inherited_lock(3, (expected.0, expected.1 + 1)), Ok(Inherited::Other)));
    let Ok(Inherited::Lock(lock)) = inherited_lock(3, expected) else { panic!("it was passed") };
    lock.try_lock().unwrap();
    assert!(rustix::io::fcntl_getfd(lock.as_fd()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    assert!(is_missing(3));
    drop(lock);
    assert!(is_missing(3));
    println!("taken once");
}

#[test]
fn a_daemon_takes_the_lock_that_it_was_started_with() {
    let place = Place::new();
    let lock = place.file("lock");
    lock.try_lock().unwrap();
    let this = std::env::current_exe().unwrap();
    let [exact, name, ignored] = own_process::arguments(with_an_inherited_lock);
    let arguments = [exact, name, ignored, "--nocapture"];
    let mut daemon = place.start(spawn_detached, this.to_str().unwrap(), &arguments, Some(&lock)).unwrap();
    assert_eq!(daemon.end(Some(soon())).unwrap(), Some(ProcessEnd::Exited(0)), "{}", place.log());
    assert!(place.log().contains("taken once"), "{}", place.log());
}
