//! The largest file, files that another process has locked, and files of other daemons.

use super::super::try_read_daemon_identity_file;
use super::*;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
    daemon: DaemonProcess,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.json");
        let endpoint =
            Endpoint::unix_socket("test", directory.path().join("socket").to_str().unwrap()).unwrap();
        let daemon = DaemonProcess::current_process(endpoint, None).unwrap();
        Self { _directory: directory, path, daemon }
    }

    fn write(&self) -> io::Result<()> {
        write_daemon_identity_file(&self.path, &self.daemon)
    }
}

fn reason(error: &io::Error) -> &IdentityFileError {
    error.get_ref().and_then(|error| error.downcast_ref()).expect("it is one of this module")
}

#[test]
fn a_file_of_the_largest_size_is_written_and_read_and_a_larger_one_is_neither() {
    let mut place = Place::new();
    let rest = MAX_IDENTITY_FILE_BYTES - serde_json::to_vec_pretty(&place.daemon).unwrap().len();
    place.daemon.ipc_endpoint.namespace_id.push_str(&"n".repeat(rest));
    place.write().unwrap();
    assert_eq!(std::fs::metadata(&place.path).unwrap().len(), MAX_IDENTITY_FILE_BYTES as u64);
    assert_eq!(try_read_daemon_identity_file(&place.path).unwrap().as_ref(), Some(&place.daemon));
    place.daemon.ipc_endpoint.namespace_id.push('n');
    assert!(matches!(reason(&place.write().unwrap_err()), IdentityFileError::TooLarge));
    let larger = [std::fs::read(&place.path).unwrap(), b"\n".to_vec()].concat();
    std::fs::write(&place.path, larger).unwrap();
    let error = try_read_daemon_identity_file(&place.path).unwrap_err();
    assert!(matches!(reason(&error), IdentityFileError::TooLarge));
}

#[test]
fn who_writes_or_removes_a_locked_file_waits_for_the_lock() {
    let steps: [fn(&Place) -> io::Result<()>; 2] =
        [Place::write, |place| try_remove_daemon_identity_file(&place.path)];
    for step in steps {
        let place = Place::new();
        place.write().unwrap();
        let holder = File::open(&place.path).unwrap();
        holder.lock().unwrap();
        let (sender, done) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(step(&place)));
            let early = done.recv_timeout(Duration::from_millis(50));
            assert!(matches!(early, Err(RecvTimeoutError::Timeout)), "{early:?}");
            drop(holder);
            done.recv_timeout(Duration::from_secs(30)).expect("it goes on").unwrap();
        });
    }
}

#[test]
fn the_file_of_another_daemon_is_not_removed_as_the_own_one() {
    let place = Place::new();
    place.write().unwrap();
    let mut other = place.daemon.clone();
    other.pid += 1;
    remove_own_identity_file(&place.path, &other).unwrap();
    assert!(place.path.exists());
    remove_own_identity_file(&place.path, &place.daemon).unwrap();
    assert!(!place.path.exists());
}
