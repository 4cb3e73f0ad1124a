//! The kind of file at a path, and its owner.

use super::*;
use crate::support::in_child_process;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

fn assert_not_a_regular_file(path: &Path) {
    let refused = refused(path);
    assert!(
        matches!(refused, (io::ErrorKind::InvalidData, IdentityFileError::NotARegularFile)),
        "{}: {refused:?}",
        path.display(),
    );
}

#[test]
fn the_file_is_readable_and_writable_by_its_owner_alone() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    // The mode of the previous file does not matter.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_path_without_a_directory_is_in_the_working_directory() {
    let (directory, _) = place();
    in_child_process("identity_file::unix::in_the_working_directory", |command| {
        command.current_dir(&directory);
    });
    assert_eq!(read_daemon_identity_file(&directory.path().join("bare.json")), Some(daemon()));
}

#[test]
#[ignore = "needs a working directory of its own"]
fn in_the_working_directory() {
    write_daemon_identity_file(Path::new("bare.json"), &daemon()).unwrap();
    assert_eq!(read_daemon_identity_file(Path::new("bare.json")), Some(daemon()));
}

#[test]
fn a_symbolic_link_is_not_followed_when_reading() {
    let (directory, path) = place();
    let target = directory.path().join("target.json");
    symlink(&target, &path).unwrap();
    assert_not_a_regular_file(&path);
    write_daemon_identity_file(&target, &daemon()).unwrap();
    assert_not_a_regular_file(&path);
}

/// Returns the error of a refused write to `path`, and checks that `path` is unchanged.
#[track_caller]
fn not_taken(path: &Path) -> IdentityFileError {
    let before = std::fs::symlink_metadata(path).unwrap();
    let endpoint = daemon().ipc_endpoint;
    let error = |result: io::Result<()>| -> IdentityFileError {
        *result.unwrap_err().into_inner().unwrap().downcast().unwrap()
    };
    let path = path.to_owned();
    watched(move || {
        let checked = error(check_daemon_identity_path(&path, &endpoint));
        let written = error(write_daemon_identity_file(&path, &daemon()));
        let removed = error(try_remove_daemon_identity_file(&path));
        let after = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
        assert_eq!(checked.to_string(), written.to_string());
        assert_eq!(checked.to_string(), removed.to_string());
        written
    })
}

#[test]
fn what_is_not_a_regular_file_is_neither_replaced_nor_removed() {
    let (directory, path) = place();
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    symlink(&victim, &path).unwrap();
    assert!(matches!(not_taken(&path), IdentityFileError::NotARegularFile));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");

    assert!(matches!(not_taken(directory.path()), IdentityFileError::NotARegularFile));
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(not_taken(&path), IdentityFileError::NotARegularFile));
    std::fs::remove_file(&path).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(not_taken(&path), IdentityFileError::NotARegularFile));
    std::fs::remove_file(&path).unwrap();
    // A node of the null device, as /dev/null is one.
    let made = std::process::Command::new("mknod").arg(&path).args(["c", "1", "3"]).output().unwrap();
    if made.status.success() {
        assert!(matches!(not_taken(&path), IdentityFileError::NotARegularFile));
    } else {
        eprintln!("skipped: only root can make a device node");
    }
}

#[test]
fn a_file_that_is_not_an_identity_is_neither_replaced_nor_removed() {
    let (_directory, path) = place();
    for content in ["somebody's notes", "{}", ""] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(not_taken(&path), IdentityFileError::Malformed(_)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    std::fs::write(&path, vec![b' '; MAX_IDENTITY_FILE_BYTES + 1]).unwrap();
    assert!(matches!(not_taken(&path), IdentityFileError::TooLarge));
}

#[test]
fn a_file_of_another_user_is_neither_replaced_nor_removed() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let somebody = std::fs::metadata(&path).unwrap().uid() + 1;
    if let Err(error) = std::os::unix::fs::chown(&path, Some(somebody), None) {
        eprintln!("skipped: only root can give a file away ({error})");
        return;
    }
    let refused = not_taken(&path);
    assert!(matches!(refused, IdentityFileError::ForeignOwner { owner } if owner == somebody), "{refused}");
}

#[test]
fn nothing_is_written_where_nobody_would_read_it() {
    let (directory, path) = place();
    for mode in [0o770, 0o775, 0o777] {
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        let error = write_daemon_identity_file(&path, &daemon()).unwrap_err();
        let error = *error.into_inner().unwrap().downcast().unwrap();
        assert!(matches!(error, IdentityFileError::DirectoryWritableByOthers { mode: got } if got == mode));
    }
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
    let mut without_boot = daemon();
    without_boot.boot_id = String::new();
    let error = write_daemon_identity_file(&path, &without_boot).unwrap_err();
    assert!(error.into_inner().unwrap().is::<IdentityFileError>());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn the_umask_does_not_matter() {
    let (directory, path) = place();
    in_child_process("identity_file::unix::with_a_umask_that_takes_everything", |command| {
        command.current_dir(&directory);
    });
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
#[ignore = "needs a umask of its own"]
fn with_a_umask_that_takes_everything() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 0277; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    shell.args(["--exact", "identity_file::unix::writes_twice", "--ignored"]);
    assert!(shell.status().unwrap().success());
}

#[test]
#[ignore = "part of the test above"]
fn writes_twice() {
    for _ in 0..2 {
        write_daemon_identity_file(Path::new("daemon.json"), &daemon()).unwrap();
    }
}

#[test]
fn what_killed_writers_left_is_removed_and_nothing_else() {
    let (directory, path) = place();
    let [left, held, folder, other] = [
        ".daemon.json.0123456789abcdef.new",
        ".daemon.json.0123456789abcde0.new",
        ".daemon.json.0123456789abcde1.new",
        ".other.json.0123456789abcdef.new",
    ]
    .map(|name| directory.path().join(name));
    for file in [&left, &held, &other] {
        std::fs::write(file, "{").unwrap();
    }
    std::fs::create_dir(&folder).unwrap();
    let writer = std::fs::File::open(&held).unwrap();
    writer.lock().unwrap();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    assert!(!left.exists());
    assert!(held.exists(), "its writer lives");
    assert!(folder.exists() && other.exists());
}

/// Returns a daemon of a live process, at another endpoint than that of [`daemon`].
fn living_elsewhere() -> DaemonProcess {
    let endpoint = Endpoint::unix_socket("test", "/run/elsewhere.sock").unwrap();
    DaemonProcess::current_process(endpoint, None).unwrap()
}

#[test]
fn the_file_of_a_daemon_that_runs_at_another_endpoint_is_not_taken() {
    let (_directory, path) = place();
    let mut living = living_elsewhere();
    // Without `origin` the file is as published peers write it: it has no start time.
    for origin in [living.origin.clone(), None] {
        living.origin = origin;
        write_daemon_identity_file(&path, &living).unwrap();
        let error = write_daemon_identity_file(&path, &daemon()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let error: IdentityFileError = *error.into_inner().unwrap().downcast().unwrap();
        assert!(
            matches!(error, IdentityFileError::InUse { pid, .. } if pid == std::process::id()),
            "{error}"
        );
        assert_eq!(read_daemon_identity_file(&path), Some(living.clone()));
    }
    // The owner of the same endpoint may replace it.
    let mut successor = daemon();
    successor.ipc_endpoint = living.ipc_endpoint;
    write_daemon_identity_file(&path, &successor).unwrap();
}

#[test]
fn the_file_of_a_daemon_that_has_ended_is_taken_whatever_its_endpoint() {
    let (_directory, path) = place();
    let mut earlier_boot = living_elsewhere();
    earlier_boot.boot_id = "another".into();
    let mut pid_used_again = living_elsewhere();
    pid_used_again.origin.as_mut().unwrap().start_time += 1;
    let mut ended = living_elsewhere();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    ended.pid = child.id();
    child.wait().unwrap();
    for dead in [earlier_boot, pid_used_again, ended] {
        write_daemon_identity_file(&path, &dead).unwrap();
        write_daemon_identity_file(&path, &daemon()).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn of_many_daemons_that_start_at_once_one_has_the_file() {
    let (_directory, path) = place();
    for _ in 0..20 {
        let taken = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let mut daemon = living_elsewhere();
                    daemon.ipc_endpoint.path = format!("/run/{writer}.sock");
                    let path = &path;
                    scope.spawn(move || write_daemon_identity_file(path, &daemon).is_ok())
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).filter(|ok| *ok).count()
        });
        assert_eq!(taken, 1);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_not_a_regular_file_is_refused_at_once() {
    let (directory, path) = place();
    assert_not_a_regular_file(directory.path());

    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_not_a_regular_file(&path);
    std::fs::remove_file(&path).unwrap();

    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    assert_not_a_regular_file(&path);

    assert_not_a_regular_file(Path::new("/dev/zero"));
    assert_not_a_regular_file(Path::new("/dev/null"));
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    for mode in [0o620, 0o602, 0o666, 0o777] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let (kind, error) = refused(&path);
        assert_eq!(kind, io::ErrorKind::PermissionDenied);
        assert!(matches!(error, IdentityFileError::WritableByOthers { mode: got } if got == mode));
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(try_read_daemon_identity_file(&path).unwrap(), Some(daemon()));
}

#[test]
fn a_directory_in_which_others_can_replace_the_file_is_refused() {
    let (directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    for mode in [0o770, 0o707, 0o777] {
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        let (kind, error) = refused(&path);
        assert_eq!(kind, io::ErrorKind::PermissionDenied);
        assert!(
            matches!(error, IdentityFileError::DirectoryWritableByOthers { mode: got } if got == mode),
            "{error:?}"
        );
    }
    // In a sticky directory such as /tmp, only a file's owner may replace it.
    for mode in [0o1777, 0o755, 0o711] {
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(try_read_daemon_identity_file(&path).unwrap(), Some(daemon()), "{mode:o}");
    }
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let (directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let somebody = std::fs::metadata(&path).unwrap().uid() + 1;
    if let Err(error) = std::os::unix::fs::chown(&directory, Some(somebody), None) {
        eprintln!("skipped: only root can give a directory away ({error})");
        return;
    }
    let (_, error) = refused(&path);
    assert!(matches!(error, IdentityFileError::ForeignDirectory { owner } if owner == somebody), "{error:?}");
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let somebody = std::fs::metadata(&path).unwrap().uid() + 1;
    if let Err(error) = std::os::unix::fs::chown(&path, Some(somebody), None) {
        eprintln!("skipped: only root can give a file away ({error})");
        return;
    }
    let (kind, error) = refused(&path);
    assert_eq!(kind, io::ErrorKind::PermissionDenied);
    assert!(matches!(error, IdentityFileError::ForeignOwner { owner } if owner == somebody), "{error:?}");
}

/// The file is 1 GiB long; the process that reads it has a smaller limit of memory.
#[cfg(target_os = "linux")]
#[test]
fn a_huge_file_is_refused_in_little_memory() {
    let (_directory, path) = place();
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let limited = "ulimit -v 524288 && exec \"$0\" \"$@\"";
    in_child_process("identity_file::unix::huge_in_little_memory", |command| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", limited]).arg(command.get_program()).args(command.get_args());
        shell.env("HUGE_IDENTITY_FILE", &path);
        *command = shell;
    });
}

#[test]
#[ignore = "needs a memory limit of its own"]
fn huge_in_little_memory() {
    let mut too_much = Vec::<u8>::new();
    too_much.try_reserve_exact(1 << 30).expect_err("the limit holds");
    let path = PathBuf::from(std::env::var_os("HUGE_IDENTITY_FILE").unwrap());
    assert!(matches!(refused(&path), (io::ErrorKind::InvalidData, IdentityFileError::TooLarge)));
}

#[test]
fn an_executable_path_that_is_not_utf_8_survives() {
    let (_directory, path) = place();
    let mut daemon = daemon();
    daemon.exe_path = PathBuf::from(OsStr::from_bytes(b"/opt/caf\xe9/daemon"));
    write_daemon_identity_file(&path, &daemon).unwrap();
    assert_eq!(read_daemon_identity_file(&path), Some(daemon.clone()));
    // Published peers require a string in this field.
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(document["exe_path"], "/opt/caf\u{fffd}/daemon");
    assert_eq!(document["exe_path_bytes"], serde_json::json!(b"/opt/caf\xe9/daemon"));
    assert_eq!(DaemonProcess::decode(&daemon.encode()).unwrap(), daemon);
}
