//! Facts of `/proc` about a process whose program or number changes.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{ProcessHandle, own_image, own_pid_namespace, own_start_time, process_image, session_of};
use super::{handle, idle, idle_copy};
use crate::own_process;

/// Copies this program with another process: a program that is open for writing cannot be run, and a child that another
/// test is starting might keep it open for a moment.
fn copy_this_program(to: &Path) {
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_start_time_is_found_whatever_the_program_is_called() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a) b (c", ") S 1 2 3", "(("] {
        let copy = directory.path().join(name);
        copy_this_program(&copy);
        let mut child = idle_copy(&copy);
        let process = handle(&child);
        let pid = child.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let rest = stat.strip_prefix(&format!("{pid} ({name}) ")).unwrap();
        let expected: u64 = rest.split(' ').nth(19).unwrap().parse().unwrap();
        assert_eq!(process.start_time().unwrap(), expected);
        assert!(expected >= own_start_time().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn the_pid_namespace_is_the_one_that_the_link_names() {
    let link = fs::read_link("/proc/self/ns/pid").unwrap();
    let expected = format!("pid:[{}]", own_pid_namespace().unwrap().unwrap());
    assert_eq!(link.to_str().unwrap(), expected);
}

/// Runs in a pid namespace of its own, where no other process takes the number in between.
#[test]
#[ignore = "started by the next test in a pid namespace of its own"]
fn a_number_given_to_another_process() {
    let next = |pid: u32| fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string());
    let mut first = idle();
    let before = handle(&first);
    first.kill().unwrap();
    first.wait().unwrap();
    if next(first.id()).is_err() {
        println!("this user may not choose numbers");
        return;
    }
    let mut second = idle();
    assert_eq!(second.id(), first.id());
    let after = handle(&second);
    assert!(!before.is_same_process(&after).unwrap());
    assert!(!after.is_same_process(&before).unwrap());
    assert!(!before.is_same_living_process(&after).unwrap());
    assert!(!after.is_same_living_process(&before).unwrap());
    assert!(before.start_time().is_err() && after.start_time().is_ok());
    second.kill().unwrap();
    second.wait().unwrap();
}

/// Runs as the first process of a PID namespace, in a session that was made outside.
#[test]
#[ignore = "started by the next test in a PID namespace"]
fn a_session_from_outside() {
    assert_eq!(session_of(std::process::id()), None);
}

#[test]
fn a_session_from_outside_of_the_pid_namespace_has_no_id() {
    run_in_a_pid_namespace(a_session_from_outside);
}

#[test]
fn a_handle_stays_with_its_process_when_the_number_is_given_away() {
    run_in_a_pid_namespace(a_number_given_to_another_process);
}

/// Runs `test`, which is ignored otherwise, as the first process of a PID namespace, unless there are none here.
fn run_in_a_pid_namespace(test: impl Fn()) {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(own_process::arguments(test))
        .output();
    let Ok(output) = output else { return };
    if output.stdout.is_empty() {
        println!("no namespaces here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    own_process::assert_passed(&output);
}

/// Replaces and then removes the file of the running program.
#[test]
#[ignore = "started by the next test in a copy of this program"]
fn replaced_while_running() {
    let Some(path) = std::env::var_os("RUNNING_PROCESS_TEST_COPY").map(PathBuf::from) else {
        return;
    };
    let this = ProcessHandle::open(std::process::id()).unwrap().unwrap();
    let before = fs::read(&path).unwrap();
    for replace in [true, false] {
        if replace {
            let other = path.with_extension("new");
            fs::write(&other, "something else").unwrap();
            fs::rename(&other, &path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(process_image(&this).unwrap(), path);
        for image in [own_image().unwrap(), this.open_image().unwrap()] {
            assert_eq!(image.path, path);
            let mut open = Vec::new();
            (&image.file).read_to_end(&mut open).unwrap();
            assert!(open == before);
            let (unopened, open) = (this.image_metadata().unwrap().unwrap(), image.file.metadata().unwrap());
            assert_eq!((unopened.dev(), unopened.ino()), (open.dev(), open.ino()));
        }
    }
}

#[test]
fn the_open_image_is_read_after_its_file_was_replaced_or_removed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = fs::canonicalize(directory.path()).unwrap();
    for name in ["copy", "copy (deleted)"] {
        let copy = directory.join(name);
        copy_this_program(&copy);
        let output = Command::new(&copy)
            .args(own_process::arguments(replaced_while_running))
            .env("RUNNING_PROCESS_TEST_COPY", &copy)
            .output()
            .unwrap();
        own_process::assert_passed(&output);
    }
}

#[test]
fn what_stands_at_a_path_is_found_where_the_process_looks_it_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = idle();
    let process = handle(&child);
    let file = directory.path().join("file");
    assert!(process.standing_at(&file).unwrap().is_none());
    assert!(process.standing_at(&file.join("below")).unwrap().is_none());
    fs::write(&file, "").unwrap();
    let found = process.standing_at(&file).unwrap().unwrap();
    assert_eq!(found.ino(), fs::metadata(&file).unwrap().ino());
    // A link that leads nowhere counts as no file; one that leads to itself cannot be followed.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert!(process.standing_at(&link).unwrap().is_none());
    let circle = directory.path().join("circle");
    std::os::unix::fs::symlink("circle", &circle).unwrap();
    assert!(process.standing_at(&circle).is_err());
    child.kill().unwrap();
    assert!(process.wait_exit(None).unwrap());
    assert_eq!(process.standing_at(&file).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    child.wait().unwrap();
}

#[test]
fn a_process_is_ending_once_it_was_killed_and_not_before() {
    let mut child = idle();
    let process = handle(&child);
    assert!(!process.is_ending().unwrap());
    child.kill().unwrap();
    assert!(process.wait_exit(None).unwrap());
    assert!(process.is_ending().unwrap(), "a zombie");
    child.wait().unwrap();
    assert!(process.is_ending().unwrap(), "reaped");
    let gone = process.open_image().unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(process.image_metadata().unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
