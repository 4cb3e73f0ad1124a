//! Files that cannot be opened, and files that another process holds.

use super::*;
use std::os::unix::fs::lchown;
use std::sync::mpsc;

fn kept() -> (tempfile::TempDir, Location) {
    let directory = tempfile::tempdir().unwrap();
    let location = Location::of(&directory.path().join("daemon.json")).unwrap();
    std::fs::write(&location.path, "content").unwrap();
    (directory, location)
}

fn reason(location: &Location, error: Errno) -> String {
    location.unreadable(error).to_string()
}

#[test]
fn a_file_that_cannot_be_opened_is_no_regular_one_or_another_user_s_or_has_the_system_s_reason() {
    let (directory, location) = kept();
    let denied = io::Error::from(Errno::ACCESS).to_string();
    let not_regular = io::Error::from(IdentityFileError::NotARegularFile).to_string();
    assert_eq!(reason(&location, Errno::ACCESS), denied, "of this user");
    let stranger = own_user().unwrap() ^ 1;
    match lchown(&location.path, Some(stranger), None) {
        Ok(()) => {
            let foreign = io::Error::from(IdentityFileError::ForeignOwner { owner: stranger }).to_string();
            assert_eq!(reason(&location, Errno::ACCESS), foreign);
            let full = io::Error::from(Errno::MFILE).to_string();
            assert_eq!(reason(&location, Errno::MFILE), full, "for which no owner matters");
        }
        Err(error) => eprintln!("skipped: only root can give a file away ({error})"),
    }
    std::fs::remove_file(&location.path).unwrap();
    assert_eq!(reason(&location, Errno::ACCESS), denied, "that is gone meanwhile");
    std::os::unix::fs::symlink(directory.path(), &location.path).unwrap();
    assert_eq!(reason(&location, Errno::ACCESS), not_regular);
}

#[test]
fn a_lock_that_another_process_keeps_is_waited_for_until_the_deadline() {
    let (_directory, location) = kept();
    let holder = File::open(&location.path).unwrap();
    holder.lock().unwrap();
    let file = File::open(&location.path).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(location.lock(file, Instant::now()).unwrap_err().to_string()));
    let told = receiver.recv_timeout(Duration::from_secs(30)).expect("the wait ends");
    assert_eq!(told, io::Error::from(IdentityFileError::Busy).to_string());
    drop(holder);
}

#[test]
fn a_file_for_which_the_lock_was_taken_and_that_was_replaced_is_another_one() {
    let (directory, location) = kept();
    let lock = |file| location.lock(file, Instant::now() + Duration::from_secs(30)).unwrap();
    let file = File::open(&location.path).unwrap();
    assert!(lock(file).is_some());
    let file = File::open(&location.path).unwrap();
    let successor = directory.path().join("successor");
    std::fs::write(&successor, "content").unwrap();
    std::fs::rename(&successor, &location.path).unwrap();
    assert!(lock(file).is_none());
}

#[test]
fn the_end_of_a_lock_is_that_of_a_child_s_copy_too() {
    let (_directory, location) = kept();
    let file = File::open(&location.path).unwrap();
    let copy = file.try_clone().unwrap();
    drop(location.lock(file, Instant::now()).unwrap().expect("it was not replaced"));
    File::open(&location.path).unwrap().try_lock().expect("no process has it");
    drop(copy);
}

#[test]
fn the_names_of_the_socket_and_of_its_lock_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let is_taken = |name: &str, socket: &Path| {
        let endpoint = Endpoint::unix_socket("test", socket.to_str().unwrap()).unwrap();
        let checked = Location::of(&directory.path().join(name)).unwrap().check_apart_from(&endpoint);
        checked.inspect_err(|error| assert!(error.to_string().contains("endpoint"), "{error}")).is_err()
    };
    let socket = directory.path().join("socket");
    assert!(is_taken("socket", &socket) && is_taken("socket.lock", &socket));
    assert!(!is_taken("daemon.json", &socket));
    assert!(!is_taken("socket", &other.path().join("socket")), "in another directory");
}

#[test]
fn a_temporary_name_has_16_hexadecimal_digits() {
    let (_directory, location) = kept();
    let own = location.temp_name().unwrap();
    assert!(location.is_temporary(&own), "{}", own.display());
    for name in [
        ".daemon.json.0123456789abcdeg.new",
        ".daemon.json.0123456789abcde.new",
        ".other.json.0123456789abcdef.new",
        "daemon.json",
    ] {
        assert!(!location.is_temporary(OsStr::new(name)), "{name}");
    }
}

/// Returns the names of the files beside the one at the location.
fn beside(location: &Location) -> Vec<OsString> {
    let entries = std::fs::read_dir(location.path.parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).filter(|name| *name != location.name).collect()
}

#[test]
fn a_temporary_file_is_gone_with_its_writer_whether_it_was_published_or_not() {
    let (_directory, location) = kept();
    drop(TempFile::write(&location, b"given up").unwrap());
    assert!(beside(&location).is_empty());
    assert!(!TempFile::write(&location, b"too late").unwrap().publish(false).unwrap(), "there is a file");
    assert!(TempFile::write(&location, b"over it").unwrap().publish(true).unwrap());
    assert_eq!(std::fs::read(&location.path).unwrap(), b"over it");
    location.remove().unwrap();
    assert!(TempFile::write(&location, b"alone").unwrap().publish(false).unwrap());
    assert_eq!(std::fs::read(&location.path).unwrap(), b"alone");
    assert!(beside(&location).is_empty());
}

#[test]
fn an_abandoned_temporary_file_is_removed_and_one_of_another_user_is_not() {
    let (directory, location) = kept();
    let abandoned = || {
        let name = location.temp_name().unwrap();
        std::fs::write(directory.path().join(&name), "cut").unwrap();
        name
    };
    abandoned();
    location.remove_abandoned();
    assert!(beside(&location).is_empty());
    let foreign = abandoned();
    let stranger = own_user().unwrap() ^ 1;
    if let Err(error) = lchown(directory.path().join(&foreign), Some(stranger), None) {
        return eprintln!("skipped: only root can give a file away ({error})");
    }
    location.remove_abandoned();
    assert_eq!(beside(&location), [foreign]);
}
