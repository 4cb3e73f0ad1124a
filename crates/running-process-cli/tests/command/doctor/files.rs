//! The files of a service.

use super::machine::{Machine, is_root, pid_of};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

#[test]
fn an_identity_file_that_cannot_be_used_is_moved_away() {
    type Put = fn(&Path);
    let things: [(&str, Put); 7] = [
        ("identity_file_not_regular", |path| symlink("/etc/passwd", path).unwrap()),
        ("identity_file_not_regular", |path| {
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }),
        ("identity_file_not_regular", |path| fs::create_dir(path).unwrap()),
        ("identity_file_too_large", |path| fs::File::create(path).unwrap().set_len(1 << 30).unwrap()),
        ("identity_file_malformed", |path| fs::write(path, "{\"pid\": 1").unwrap()),
        ("identity_file_writable", |path| {
            fs::write(path, "{}").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        }),
        ("identity_file_foreign", |path| {
            fs::write(path, "{}").unwrap();
            chown(path, Some(65534), None).unwrap();
        }),
    ];
    for (id, put) in things {
        if id == "identity_file_foreign" && !is_root() {
            continue;
        }
        let (machine, file) = Machine::stopped();
        let path = machine.place("identity.json");
        put(&path);
        let finding = machine.finds(id);
        assert_eq!(finding["path"], path.display().to_string());
        machine.follow(&finding);
        machine.services.start(&file);
        machine.lacks(id);
    }
}

#[test]
fn a_live_daemon_writes_a_bad_identity_file_again_once_it_is_moved_away() {
    let machine = Machine::new();
    let pid = machine.services.start(&machine.cache(""));
    fs::set_permissions(machine.place("identity.json"), Permissions::from_mode(0o620)).unwrap();
    let finding = machine.finds("identity_file_writable");
    assert!(finding["what"].as_str().unwrap().contains("620"), "{finding}");
    machine.follow(&finding);
    crate::common::service::await_that("identity file", || machine.place("identity.json").exists());
    assert_eq!(pid_of(&machine.services.json(0, &["status", "--file", &machine.file()])), pid);
}

#[test]
fn a_lock_that_is_none_and_a_socket_that_is_none_are_moved_away() {
    for (name, id) in [("lock", "lock_unusable"), ("socket", "not_a_socket")] {
        let (machine, file) = Machine::stopped();
        let path = machine.place(name);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let finding = machine.finds(id);
        assert_eq!(finding["path"], path.display().to_string());
        machine.follow(&finding);
        machine.services.start(&file);
        machine.lacks(id);
    }
}

#[test]
fn what_stands_at_the_path_of_the_socket_is_told_by_its_kind() {
    type Put = fn(&Path);
    let things: [(&str, Put); 3] = [
        ("a regular file", |path| fs::write(path, "precious").unwrap()),
        ("a symbolic link", |path| symlink("/etc/passwd", path).unwrap()),
        ("a FIFO", |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap()),
    ];
    for (kind, put) in things {
        let (machine, _) = Machine::stopped();
        put(&machine.place("socket"));
        let finding = machine.finds("not_a_socket");
        assert!(finding["what"].as_str().unwrap().contains(kind), "{finding}");
    }
}

#[test]
fn a_log_that_nothing_bounds_is_told_with_its_length() {
    let machine = Machine::new();
    let file = machine.script("head -c 100000 /dev/zero; exec sleep 600", "log_limit = 4096");
    assert_eq!(machine.services.run(&["start", "--file", &file, "--deadline", "500ms"]).status, 2);
    let length = || machine.place("log").metadata().map_or(0, |found| found.len());
    crate::common::service::await_that("log", || length() >= 100_000);
    let finding = machine.finds("log_over_limit");
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("100000 bytes") && what.contains("4096"), "{what}");
}

#[test]
fn a_service_manager_that_is_to_listen_and_does_not_is_told_and_so_is_a_damaged_record() {
    let (machine, file) = Machine::stopped();
    fs::write(machine.place("activation"), "systemd running-process-cache.socket\n").unwrap();
    let finding = machine.finds("activation_off");
    assert_eq!(finding["remedy"], "systemctl --user enable --now running-process-cache.socket");
    // Ask nothing of the listener: a service manager would start the daemon.
    let listener = UnixListener::bind(machine.place("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    machine.lacks("activation_off");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(listener);
    fs::remove_file(machine.place("socket")).unwrap();
    fs::write(machine.place("activation"), "cron").unwrap();
    machine.follow(&machine.finds("activation_unusable"));
    machine.services.start(&file);
    machine.lacks("activation_unusable");
}
