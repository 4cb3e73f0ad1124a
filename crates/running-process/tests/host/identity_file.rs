//! The identity file: what is written, and what a reader refuses to take.

use crate::support::watched;
#[cfg(windows)]
use crate::support::{eventually, join};
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, ExeDigests};
#[cfg(unix)]
use running_process::broker::backend_sdk::check_daemon_identity_path;
use running_process::broker::backend_sdk::{
    IdentityFileError, MAX_IDENTITY_FILE_BYTES, read_daemon_identity_file, remove_daemon_identity_file,
    try_read_daemon_identity_file, try_remove_daemon_identity_file, write_daemon_identity_file,
};
use running_process::broker::protocol::{self, Endpoint};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

fn daemon() -> DaemonProcess {
    let message = protocol::DaemonProcess {
        pid: 4711,
        exe_path: "/usr/bin/daemon".into(),
        exe_sha256: vec![1; 32],
        exe_hash_algorithm: "blake3".into(),
        exe_hash: vec![2; 32],
        ipc_endpoint: Some(Endpoint::unix_socket("test", "/run/daemon.sock").unwrap()),
        started_at_unix_ms: 1_700_000_000_000,
        boot_id: "3c2d0e4f".into(),
        idle_timeout_secs: Some(600),
    };
    message.try_into().unwrap()
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    (directory, path)
}

/// Returns the reason for which the file at `path` is refused, at once and not after a write to it.
fn refused(path: &Path) -> (io::ErrorKind, IdentityFileError) {
    let path = path.to_owned();
    let error = watched(move || try_read_daemon_identity_file(&path)).unwrap_err();
    let kind = error.kind();
    (kind, *error.into_inner().unwrap().downcast().unwrap())
}

fn assert_malformed(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    let refused = refused(path);
    assert!(matches!(refused, (io::ErrorKind::InvalidData, IdentityFileError::Malformed(_))), "{refused:?}");
    assert_eq!(read_daemon_identity_file(path), None);
}

#[test]
fn what_is_written_is_read() {
    let (_directory, path) = place();
    let mut daemon = daemon();
    for digests in [daemon.exe_digests, ExeDigests::Sha256([3; 32]), ExeDigests::Blake3([4; 32])] {
        for idle_timeout_secs in [None, Some(0), Some(u32::MAX)] {
            daemon.exe_digests = digests;
            daemon.idle_timeout_secs = idle_timeout_secs;
            write_daemon_identity_file(&path, &daemon).unwrap();
            assert_eq!(read_daemon_identity_file(&path).as_ref(), Some(&daemon));
            assert_eq!(try_read_daemon_identity_file(&path).unwrap().as_ref(), Some(&daemon));
        }
    }
}

#[test]
fn the_file_has_the_fields_that_every_generation_reads() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let expected = serde_json::json!({
        "pid": 4711,
        "exe_path": "/usr/bin/daemon",
        "exe_sha256": vec![1; 32],
        "exe_hash_algorithm": "blake3",
        "exe_hash": vec![2; 32],
        "legacy_exe_sha256": vec![1; 32],
        "boot_id": "3c2d0e4f",
        "ipc_endpoint": { "namespace_id": "test", "path": "/run/daemon.sock" },
        "started_at_unix_ms": 1_700_000_000_000_u64,
        "idle_timeout_secs": 600,
    });
    assert_eq!(document, expected);
}

#[test]
fn files_of_either_generation_are_read_with_fields_that_nobody_knows() {
    let (_directory, path) = place();
    let first = serde_json::json!({
        "pid": 4711, "exe_path": "/usr/bin/daemon", "exe_sha256": vec![1; 32], "boot_id": "3c2d0e4f",
        "ipc_endpoint": { "namespace_id": "test", "path": "/run/daemon.sock" },
        "started_at_unix_ms": 1_700_000_000_000_u64, "idle_timeout_secs": 600, "to_come": { "x": [1] },
    });
    std::fs::write(&path, first.to_string()).unwrap();
    let mut expected = daemon();
    expected.exe_digests = ExeDigests::Sha256([1; 32]);
    assert_eq!(try_read_daemon_identity_file(&path).unwrap(), Some(expected.clone()));

    let second = serde_json::json!({
        "pid": 4711, "exe_path": "/usr/bin/daemon", "exe_hash_algorithm": "blake3", "exe_hash": vec![2; 32],
        "boot_id": "3c2d0e4f", "ipc_endpoint": { "namespace_id": "test", "path": "/run/daemon.sock" },
        "started_at_unix_ms": 1_700_000_000_000_u64, "idle_timeout_secs": 600,
    });
    std::fs::write(&path, second.to_string()).unwrap();
    expected.exe_digests = ExeDigests::Blake3([2; 32]);
    assert_eq!(try_read_daemon_identity_file(&path).unwrap(), Some(expected));
}

#[test]
fn a_byte_order_mark_before_the_identity_is_skipped() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let json = std::fs::read(&path).unwrap();
    std::fs::write(&path, [b"\xef\xbb\xbf", &*json].concat()).unwrap();
    assert_eq!(try_read_daemon_identity_file(&path).unwrap(), Some(daemon()));
}

#[test]
fn a_missing_file_is_no_error() {
    let (directory, path) = place();
    assert_eq!(try_read_daemon_identity_file(&path).unwrap(), None);
    assert_eq!(try_read_daemon_identity_file(&directory.path().join("nowhere/daemon.json")).unwrap(), None);
    assert_eq!(read_daemon_identity_file(&path), None);
}

#[test]
fn removing_removes_and_a_missing_file_is_no_error() {
    let (directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    try_remove_daemon_identity_file(&path).unwrap();
    assert!(!path.exists());
    try_remove_daemon_identity_file(&path).unwrap();
    try_remove_daemon_identity_file(&directory.path().join("nowhere/daemon.json")).unwrap();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    remove_daemon_identity_file(&path);
    assert!(!path.exists());
    remove_daemon_identity_file(&path);
}

#[test]
fn a_directory_that_cannot_be_opened_is_an_error_of_the_removal() {
    let (directory, _) = place();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(try_remove_daemon_identity_file(&file.join("daemon.json")).is_err());
}

#[test]
fn an_identity_is_written_up_to_the_size_that_is_read() {
    let (_directory, path) = place();
    let mut daemon = daemon();
    // Not where the kernel would look: the document is what counts.
    let mut fill = |bytes: usize| {
        daemon.boot_id = "b".repeat(bytes);
        daemon.clone()
    };
    write_daemon_identity_file(&path, &fill(1)).unwrap();
    let room = MAX_IDENTITY_FILE_BYTES - usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
    let largest = fill(room + 1);
    write_daemon_identity_file(&path, &largest).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), MAX_IDENTITY_FILE_BYTES as u64);
    assert_eq!(try_read_daemon_identity_file(&path).unwrap().unwrap(), largest);
    let refused = write_daemon_identity_file(&path, &fill(room + 2)).unwrap_err();
    assert!(
        refused
            .get_ref()
            .is_some_and(|error| { matches!(error.downcast_ref(), Some(IdentityFileError::TooLarge)) })
    );
    assert_eq!(try_read_daemon_identity_file(&path).unwrap().unwrap(), largest);
}

#[test]
fn writing_into_a_directory_that_is_missing_fails_and_leaves_nothing() {
    let (directory, _) = place();
    let path = directory.path().join("nowhere/daemon.json");
    assert_eq!(write_daemon_identity_file(&path, &daemon()).unwrap_err().kind(), io::ErrorKind::NotFound);
    let occupied = directory.path().join("occupied");
    std::fs::create_dir(&occupied).unwrap();
    assert!(write_daemon_identity_file(&occupied, &daemon()).is_err());
    let left: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["occupied"]);
}

#[test]
fn what_is_not_an_identity_is_malformed() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert_malformed(&path, &whole[..length]);
    }
    assert_malformed(&path, b"null");
    assert_malformed(&path, b"\xff\xfe\x00");
    assert_malformed(&path, &vec![b'['; MAX_IDENTITY_FILE_BYTES]);
    let with = |field: &str, value: serde_json::Value| {
        let mut document: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        document[field] = value;
        document.to_string()
    };
    for (field, value) in [
        ("pid", 0.into()),
        ("pid", (1_u64 << 32).into()),
        ("exe_path", "".into()),
        ("boot_id", "".into()),
        ("exe_hash", vec![2; 31].into()),
        ("exe_hash", vec![256; 32].into()),
        ("ipc_endpoint", serde_json::Value::Null),
    ] {
        assert_malformed(&path, with(field, value).as_bytes());
    }
}

#[test]
fn the_size_limit_is_the_largest_file_that_is_read() {
    let (_directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let mut content = std::fs::read(&path).unwrap();
    content.resize(MAX_IDENTITY_FILE_BYTES, b' ');
    std::fs::write(&path, &content).unwrap();
    assert_eq!(try_read_daemon_identity_file(&path).unwrap(), Some(daemon()));
    content.push(b' ');
    std::fs::write(&path, &content).unwrap();
    assert!(matches!(refused(&path), (io::ErrorKind::InvalidData, IdentityFileError::TooLarge)));
}

#[test]
fn concurrent_writers_and_readers_never_see_a_torn_file() {
    let (_directory, path) = place();
    // Of different lengths, so that one written over another would show.
    let daemons: Vec<DaemonProcess> = (0..4_u32)
        .map(|writer| {
            let mut daemon = daemon();
            daemon.pid += writer;
            daemon.exe_path = format!("/usr/bin/{}", "d".repeat(1000 * writer as usize + 1)).into();
            daemon
        })
        .collect();
    write_daemon_identity_file(&path, &daemons[0]).unwrap();
    let writing = AtomicUsize::new(daemons.len());
    watched(move || {
        std::thread::scope(|scope| {
            for daemon in &daemons {
                scope.spawn(|| {
                    // Each write is flushed to the disk, which may be busy. On Windows it may also wait for the busy readers.
                    for _ in 0..if cfg!(windows) { 4 } else { 25 } {
                        match write_daemon_identity_file(&path, daemon) {
                            Ok(()) => {}
                            // A file that another thread is just replacing cannot be opened or replaced there.
                            Err(_) if cfg!(windows) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    writing.fetch_sub(1, Ordering::Relaxed);
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while writing.load(Ordering::Relaxed) > 0 {
                        match try_read_daemon_identity_file(&path) {
                            Ok(Some(found)) => assert!(daemons.contains(&found)),
                            Err(error) if error.kind() == io::ErrorKind::InvalidData => panic!("{error:?}"),
                            _ if cfg!(windows) => {}
                            other => panic!("{other:?}"),
                        }
                    }
                });
            }
        });
    });
}

/// Some programs on Windows open files without sharing their deletion, as the reader here does.
#[cfg(windows)]
#[test]
fn a_file_that_somebody_just_reads_without_sharing_it_is_replaced() {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_SHARE_READ: u32 = 1;
    let (directory, path) = place();
    write_daemon_identity_file(&path, &daemon()).unwrap();
    let reader = std::fs::File::options().read(true).share_mode(FILE_SHARE_READ).open(&path).unwrap();
    let mut next = daemon();
    next.pid += 1;
    let (written, record) = (next.clone(), path.clone());
    let writing = std::thread::spawn(move || write_daemon_identity_file(&record, &written));
    // The new file is beside it and only has to be put in its place.
    eventually(|| (std::fs::read_dir(&directory).unwrap().count() == 2).then_some(()));
    drop(reader);
    join(writing).unwrap();
    assert_eq!(try_read_daemon_identity_file(&path).unwrap(), Some(next));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
}

#[cfg(unix)]
#[path = "identity_file/unix.rs"]
mod unix;
