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
