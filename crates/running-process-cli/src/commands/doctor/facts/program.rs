//! The program and the file of a service.

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
) -> Option<TemporaryProgram> {
    let named = examination.and_then(|examination| match &examination.program {
        ProgramState::Found(path) => Some((path.as_path(), None)),
        _ => None,
    });
    let runs = live.map(|daemon| (daemon.exe_path.as_path(), Some(daemon.pid)));
    let directory = std::env::temp_dir();
    [runs, named].into_iter().flatten().find_map(|(program, pid)| {
        let place = temporary_place(
            program,
            &[Path::new("/tmp"), Path::new("/var/tmp"), Path::new("/dev/shm"), &directory],
        )?;
        Some(TemporaryProgram { program: program.to_owned(), pid, place })
    })
}

/// Returns the directory above `program` that is emptied from time to time: one of `known`, or one that is marked.
fn temporary_place(program: &Path, known: &[&Path]) -> Option<String> {
    if let Some(directory) = known.iter().find(|directory| program.starts_with(directory)) {
        return Some(format!("the temporary directory {}", directory.display()));
    }
    // Builds and caches mark what they may remove: https://bford.info/cachedir/
    let build = program.ancestors().skip(1).find(|directory| directory.join("CACHEDIR.TAG").is_file())?;
    Some(format!("the build or cache directory {}", build.display()))
}

/// Returns the file or its directory, whichever others can write, and the reason.
#[cfg(unix)]
pub(super) fn writable(file: &Path) -> Option<(PathBuf, String)> {
    use std::os::unix::fs::MetadataExt;
    const STICKY: u32 = 0o1000;
    let is_link = file.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let file = if is_link { file.canonicalize().ok()? } else { std::path::absolute(file).ok()? };
    let own = rustix::process::geteuid().as_raw();
    [Some(file.as_path()), file.parent()].into_iter().flatten().find_map(|path| {
        let found = path.metadata().ok()?;
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        if owner != own && owner != 0 {
            Some((path.to_owned(), format!("belongs to user {owner}")))
        } else if mode & 0o022 != 0 && !(found.is_dir() && mode & STICKY != 0) {
            Some((path.to_owned(), format!("has mode {:03o}", mode & 0o777)))
        } else {
            None
        }
    })
}

/// Returns `None`: the access to the user's profile protects the file.
#[cfg(not(unix))]
pub(super) fn writable(_: &Path) -> Option<(PathBuf, String)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_a_build_has_marked_is_temporary() {
        let build = tempfile::tempdir().unwrap();
        let program = build.path().join("target/debug/cached");
        let place = || temporary_place(&program, &[Path::new("/elsewhere")]);
        assert_eq!(place(), None);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(build.path().join("target/CACHEDIR.TAG"), "").unwrap();
        let expected = format!("the build or cache directory {}", build.path().join("target").display());
        assert_eq!(place(), Some(expected));
        let known = temporary_place(&program, &[build.path()]);
        assert_eq!(known, Some(format!("the temporary directory {}", build.path().display())));
    }
}
