//! Roots that commands left which were killed: the next command ends the processes and removes the directory.

use super::processes;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The start of each root's name.
pub(super) const PREFIX: &str = "rp-";
/// The file in a root that its command keeps locked. No directory of a service is called like that.
const OWNER: &str = ".stampede";

/// Marks `root` as that of this command, until the returned file is closed.
pub(super) fn mark(root: &Path) -> io::Result<File> {
    // Under its name the file is locked from the beginning.
    let unlocked = root.join(".stampede-unlocked");
    let owner = File::create_new(&unlocked)?;
    owner.lock()?;
    fs::rename(unlocked, root.join(OWNER))?;
    Ok(owner)
}

/// A root that was cleared.
pub(super) struct Cleared {
    pub(super) root: PathBuf,
    /// The processes that ran, which were killed.
    pub(super) processes: Vec<u32>,
}

/// Clears the roots in `directory` whose commands have ended. What cannot be cleared is left to the next command.
///
/// # Platform-specific behavior
///
/// Only Linux tells which processes belong to a root. Elsewhere nothing is cleared.
pub(super) fn clear(directory: &Path) -> Vec<Cleared> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let roots = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    roots.filter_map(|root| clear_root(root.path()).ok().flatten()).collect()
}

/// Clears one root; `None` if it is no root of this user whose command has ended.
fn clear_root(root: PathBuf) -> io::Result<Option<Cleared>> {
    let file = root.join(OWNER);
    if !is_own_directory(&root)? || !file.symlink_metadata()?.is_file() {
        return Ok(None);
    }
    let owner = File::open(file)?;
    if owner.try_lock().is_err() || processes::daemons(&root)?.is_none() {
        return Ok(None);
    }
    let processes = processes::kill(&root)?;
    fs::remove_dir_all(&root)?;
    Ok(Some(Cleared { root, processes }))
}

fn is_own_directory(path: &Path) -> io::Result<bool> {
    let metadata = path.symlink_metadata()?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::uid(&metadata) != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    Ok(metadata.is_dir())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    /// Starts a process that belongs to `root`.
    fn process(root: &Path) -> Child {
        Command::new("sleep").arg("60").env("RUNNING_PROCESS_SERVICE_ROOT", root).spawn().unwrap()
    }

    #[test]
    fn a_root_whose_command_has_ended_is_cleared_with_its_processes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rp-left");
        fs::create_dir_all(root.join("cache")).unwrap();
        let owner = mark(&root).unwrap();
        let mut daemon = process(&root);
        assert!(clear(directory.path()).is_empty(), "its command runs");
        assert!(root.exists() && daemon.try_wait().unwrap().is_none());
        drop(owner);
        // A child that another test has forked holds the file until it executes its program.
        let cleared = loop {
            if let Some(cleared) = clear(directory.path()).pop() {
                break cleared;
            }
            std::thread::yield_now();
        };
        assert_eq!((cleared.root, cleared.processes), (root.clone(), vec![daemon.id()]));
        assert_eq!(daemon.wait().unwrap().signal(), Some(9));
        assert!(!root.exists());
    }

    #[test]
    fn directories_that_are_no_roots_of_commands_are_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["rp-unmarked", "rp-linked-mark", "rp-odd-mark/.stampede", "other"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        drop(mark(&path("other")).unwrap());
        std::os::unix::fs::symlink(path("other"), path("rp-link")).unwrap();
        std::os::unix::fs::symlink(path("other/.stampede"), path("rp-linked-mark/.stampede")).unwrap();
        fs::write(path("rp-file"), "").unwrap();
        assert!(clear(directory.path()).is_empty());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 6);
    }
}
