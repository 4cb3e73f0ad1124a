//! Behaviour of handles to real processes.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{ProcessHandle, boot_id, own_image, process_image};

const PATIENCE: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A test of this file, for a copy of this program to run: no other program is on every system.
fn only(test: &str) -> [String; 3] {
    let path = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    ["--exact".to_owned(), path, "--ignored".to_owned()]
}

/// A process that runs until its standard input ends.
fn idle() -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(only("until_the_input_ends"))
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
#[cfg(target_os = "linux")]
fn a_process_that_shows_no_image_is_not_taken_for_dead() {
    // A kernel thread, or in a container some other process: it lives, whatever can be seen of it.
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

/// Replaces and then removes the file of the program that runs it.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "started by the next test in a copy of this program"]
fn replaced_while_running() {
    let Some(path) = std::env::var_os("RUNNING_PROCESS_TEST_COPY").map(std::path::PathBuf::from) else {
        return;
    };
    let this = ProcessHandle::open(std::process::id()).unwrap().unwrap();
    let before = std::fs::read(&path).unwrap();
    for replace in [true, false] {
        if replace {
            let other = path.with_extension("new");
            std::fs::write(&other, "something else").unwrap();
            std::fs::rename(&other, &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let image = own_image().unwrap();
        assert_eq!(image.path, path);
        assert_eq!(process_image(&this).unwrap(), path);
        let mut open = Vec::new();
        (&image.file).read_to_end(&mut open).unwrap();
        assert!(open == before);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_open_image_is_read_after_its_file_was_replaced_or_removed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = std::fs::canonicalize(directory.path()).unwrap();
    for name in ["copy", "copy (deleted)"] {
        let copy = directory.join(name);
        // Another process makes it: a program that is open for writing cannot be run, and a child that another test is
        // starting might keep it open for a moment.
        let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status().unwrap();
        assert!(copied.success());
        let output = Command::new(&copy)
            .args(only("replaced_while_running"))
            .env("RUNNING_PROCESS_TEST_COPY", &copy)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }
}
