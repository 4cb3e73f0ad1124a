//! The program and the file of a service.

use super::memo::Memo;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::service::{Examination, ProgramState};
use std::path::{Path, PathBuf};

/// A program in a place that does not last.
#[derive(Debug)]
pub(crate) struct TemporaryProgram {
    pub(crate) program: PathBuf,
    /// The process that runs it; `None` if it is only named.
    pub(crate) pid: Option<u32>,
    /// The place, for people.
    pub(crate) place: String,
}

/// Returns the program of the daemon that runs, or else of the service, if it is in a temporary or a build directory.
pub(super) fn temporary(
    examination: Option<&Examination>,
    live: Option<&DaemonProcess>,
    known: &Memo<PathBuf, Option<String>>,
) -> Option<TemporaryProgram> {
    let named = examination.and_then(|examination| match &examination.program {
        ProgramState::Found(path) => Some((path.as_path(), None)),
        _ => None,
    });
    let runs = live.map(|daemon| (daemon.exe_path.as_path(), Some(daemon.pid)));
    [runs, named].into_iter().flatten().find_map(|(program, pid)| {
        let place = known.get(program.parent()?.to_owned(), |directory| temporary_place(directory))?;
        Some(TemporaryProgram { program: program.to_owned(), pid, place })
    })
}

/// Returns `directory`, or the one above it, that is emptied from time to time, for people.
fn temporary_place(directory: &Path) -> Option<String> {
    let own = std::env::temp_dir();
    place_below(directory, &[Path::new("/tmp"), Path::new("/var/tmp"), Path::new("/dev/shm"), &own])
}

/// Returns `directory`, or the one above it, that is one of `known` or is marked.
fn place_below(directory: &Path, known: &[&Path]) -> Option<String> {
    if let Some(known) = known.iter().find(|known| directory.starts_with(known)) {
        return Some(format!("the temporary directory {}", known.display()));
    }
    // Builds and caches mark what they may remove: https://bford.info/cachedir/
    let build = directory.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file())?;
    Some(format!("the build or cache directory {}", build.display()))
}

/// Returns the file or its directory, whichever others can write, and the reason. Directories that are `known` are not looked at again.
#[cfg(unix)]
pub(super) fn writable(file: &Path, known: &Memo<PathBuf, Option<String>>) -> Option<(PathBuf, String)> {
    let is_link = file.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let file = if is_link { file.canonicalize().ok()? } else { std::path::absolute(file).ok()? };
    if let Some(fault) = writable_by_others(&file) {
        return Some((file, fault));
    }
    let directory = file.parent()?.to_owned();
    let fault = known.get(directory.clone(), |directory| writable_by_others(directory))?;
    Some((directory, fault))
}

#[cfg(unix)]
fn writable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    const STICKY: u32 = 0o1000;
    let found = path.metadata().ok()?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        Some(format!("belongs to user {owner}"))
    } else if mode & 0o022 != 0 && !(found.is_dir() && mode & STICKY != 0) {
        Some(format!("has mode {:03o}", mode & 0o777))
    } else {
        None
    }
}

/// Returns `None`: the access to the user's profile protects the file.
#[cfg(not(unix))]
pub(super) fn writable(_: &Path, _: &Memo<PathBuf, Option<String>>) -> Option<(PathBuf, String)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_a_build_has_marked_is_temporary() {
        let build = tempfile::tempdir().unwrap();
        let directory = build.path().join("target/debug");
        let place = || place_below(&directory, &[Path::new("/elsewhere")]);
        assert_eq!(place(), None);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(build.path().join("target/CACHEDIR.TAG"), "").unwrap();
        let expected = format!("the build or cache directory {}", build.path().join("target").display());
        assert_eq!(place(), Some(expected));
        let known = place_below(&directory, &[build.path()]);
        assert_eq!(known, Some(format!("the temporary directory {}", build.path().display())));
    }
}
