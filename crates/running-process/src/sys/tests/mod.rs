//! Behaviour of handles to real processes.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
mod spawn;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
mod spawn_starter;
#[cfg(windows)]
mod spawn_windows;
#[cfg(feature = "tokio")]
mod tasks;

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{ProcessHandle, boot_id, own_image, own_pid_namespace, own_start_time, process_image};
use crate::own_process;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + TEST_TIMEOUT
}

/// Starts a process that runs until its standard input ends. It is a copy of this program: no other is on every system.
fn idle() -> Child {
    idle_copy(&std::env::current_exe().unwrap())
}

fn idle_copy(program: &std::path::Path) -> Child {
    Command::new(program)
        .args(own_process::arguments(until_the_input_ends))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "what `idle` runs"]
fn until_the_input_ends() {
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
}

fn handle(child: &Child) -> ProcessHandle {
    ProcessHandle::open(child.id()).unwrap().unwrap()
}

#[test]
fn the_boot_id_is_the_same_twice() {
    let id = boot_id().unwrap();
    assert!(!id.is_empty() && id.trim() == id);
    assert_eq!(boot_id().unwrap(), id);
}

#[test]
fn the_start_time_is_the_same_twice_and_in_every_thread() {
    let start = own_start_time().unwrap();
    assert!(start > 0);
    assert_eq!(std::thread::spawn(own_start_time).join().unwrap().unwrap(), start);
}

#[test]
fn linux_alone_has_pid_namespaces() {
    assert_eq!(own_pid_namespace().unwrap().is_some(), cfg!(any(target_os = "linux", target_os = "android")));
}

#[test]
fn no_process_has_an_impossible_id() {
    for pid in [0, u32::MAX, 1 << 31, i32::MAX.cast_unsigned()] {
        assert!(ProcessHandle::open(pid).unwrap().is_none(), "{pid}");
    }
}

#[test]
fn this_process_is_alive_and_runs_its_own_image() {
    let this = ProcessHandle::open(std::process::id()).unwrap().unwrap();
    assert_eq!(this.pid(), std::process::id());
    assert!(!this.has_exited().unwrap());
    let image = own_image().unwrap();
    let same = |path: &std::path::Path| std::fs::canonicalize(path).unwrap();
    assert_eq!(same(&image.path), same(&process_image(&this).unwrap()));
    assert_eq!(same(&image.path), same(&std::env::current_exe().unwrap()));
    let mut start = [0; 2];
    (&image.file).read_exact(&mut start).unwrap();
    assert!(start == *b"\x7fE" || start == *b"MZ" || start == [0xcf, 0xfa]);
}

#[test]
fn handles_to_one_process_are_the_same_and_others_are_not() {
    let (mut one, mut other) = (idle(), idle());
    let (first, second, stranger) = (handle(&one), handle(&one), handle(&other));
    assert!(first.is_same_process(&second).unwrap());
    assert!(!first.is_same_process(&stranger).unwrap());
    assert!(first.is_same_living_process(&second).unwrap());
    for child in [&mut one, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!first.is_same_process(&stranger).unwrap());
    // Some systems still know, and none calls them different processes.
    assert!(first.is_same_process(&second).or(Err(())).unwrap_or(true));
    assert_eq!(first.is_same_living_process(&second).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_start_time_is_told_as_long_as_the_process_lives() {
    let this = ProcessHandle::open(std::process::id()).unwrap().unwrap();
    let start_time = own_start_time().unwrap();
    assert_eq!(this.start_time().unwrap(), start_time);
    assert!(start_time > 0);
    let mut child = idle();
    let process = handle(&child);
    assert!(process.start_time().unwrap() >= start_time);
    assert_eq!(process.start_time().unwrap(), process.start_time().unwrap());
    assert_eq!(process.pid_namespace().unwrap(), own_pid_namespace().unwrap());
    child.kill().unwrap();
    assert!(process.wait_exit(Some(soon())).unwrap());
    // First a zombie, then reaped.
    for _ in 0..2 {
        assert_eq!(process.start_time().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(process.open_image().unwrap_err().kind(), io::ErrorKind::NotFound);
        child.wait().unwrap();
    }
}

#[test]
fn resident_memory_grows_with_what_the_process_touches_and_ends_with_it() {
    const TOUCHED: u64 = 64 << 20;
    let mut child = idle();
    let process = handle(&child);
    assert!(process.resident_bytes().unwrap() < TOUCHED);
    let this = ProcessHandle::open(std::process::id()).unwrap().unwrap();
    let touched = vec![1_u8; TOUCHED.try_into().unwrap()];
    assert!(this.resident_bytes().unwrap() > TOUCHED);
    drop(touched);
    child.kill().unwrap();
    assert!(process.wait_exit(Some(soon())).unwrap());
    assert_eq!(process.resident_bytes().unwrap_err().kind(), io::ErrorKind::NotFound);
    child.wait().unwrap();
}

#[test]
fn the_image_of_another_process_is_opened() {
    let mut child = idle();
    let image = handle(&child).open_image().unwrap();
    let same = |path: &std::path::Path| std::fs::canonicalize(path).unwrap();
    assert_eq!(same(&image.path), same(&std::env::current_exe().unwrap()));
    assert_eq!(image.file.metadata().unwrap().len(), own_image().unwrap().file.metadata().unwrap().len());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_that_shows_no_image_is_not_taken_for_dead() {
    // A kernel thread, or in a container some other process: it is alive, whatever is visible of it.
    let other = ProcessHandle::open(2).unwrap();
    if let Some(error) = other.and_then(|other| process_image(&other).err()) {
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn waiting_ends_at_the_deadline_or_with_the_process() {
    let mut child = idle();
    let process = handle(&child);
    let start = Instant::now();
    assert!(!process.wait_exit(Some(start + Duration::from_millis(50))).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(50));
    drop(child.stdin.take());
    assert!(process.wait_exit(Some(soon())).unwrap());
    assert!(process.wait_exit(Some(start)).unwrap(), "readiness wins over a deadline in the past");
    child.wait().unwrap();
    assert!(process.has_exited().unwrap());
    assert_eq!(process_image(&process).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn every_thread_that_waits_sees_the_exit() {
    let mut child = idle();
    let process = std::sync::Arc::new(handle(&child));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let process = process.clone();
            std::thread::spawn(move || process.wait_exit(Some(soon())).unwrap())
        })
        .collect();
    process.kill().unwrap();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    child.wait().unwrap();
}

#[test]
fn killing_twice_is_fine_and_a_process_that_was_not_waited_for_has_exited() {
    let mut child = idle();
    let process = handle(&child);
    assert!(!process.has_exited().unwrap());
    process.kill().unwrap();
    assert!(process.wait_exit(Some(soon())).unwrap());
    assert!(process.has_exited().unwrap());
    process.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    process.kill().unwrap();
}

#[test]
#[cfg(unix)]
fn terminating_sends_the_signal() {
    use std::os::unix::process::ExitStatusExt;

    let mut child = idle();
    let process = handle(&child);
    process.terminate().unwrap();
    assert!(process.wait_exit(Some(soon())).unwrap());
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    process.terminate().unwrap();
}

#[test]
#[cfg(windows)]
fn terminating_is_not_supported() {
    let mut child = idle();
    let process = handle(&child);
    assert_eq!(process.terminate().unwrap_err().kind(), io::ErrorKind::Unsupported);
    process.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn a_zombie_can_be_opened_and_has_exited() {
    let mut child = idle();
    let before = handle(&child);
    before.kill().unwrap();
    assert!(before.wait_exit(Some(soon())).unwrap());
    let zombie = handle(&child);
    assert!(zombie.has_exited().unwrap());
    child.wait().unwrap();
    assert!(ProcessHandle::open(child.id()).unwrap().is_none());
}
