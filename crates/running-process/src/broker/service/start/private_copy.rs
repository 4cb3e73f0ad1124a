//! A copy of the daemon's program to run from, so that an upgrade never meets a locked file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Returns a copy of `program` in `directory`, which is made if it is not the present one. Copies of other versions are removed
/// unless they run. The caller holds the service's lock.
pub(in crate::broker::service) fn of(program: &Path, directory: &Path) -> io::Result<PathBuf> {
    let found = program.metadata()?;
    let modified = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = program.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let own = format!("{:x}-{:x}", found.len(), modified.as_nanos());
    fs::create_dir_all(directory)?;
    let (kept, copy) = (directory.join(&own), directory.join(&own).join(&name));
    for other in fs::read_dir(directory)?.flatten().filter(|entry| entry.path() != kept) {
        // One that runs cannot be removed on Windows, and stays until the next start.
        let _in_use = fs::remove_dir_all(other.path());
    }
    if copy.metadata().is_ok_and(|copy| copy.len() == found.len()) {
        return Ok(copy);
    }
    fs::create_dir_all(&kept)?;
    let new = kept.join("new");
    fs::copy(program, &new)?;
    fs::rename(&new, &copy)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_made_once_for_each_version() {
        let directory = tempfile::tempdir().unwrap();
        let (program, copies) = (directory.path().join("daemon"), directory.path().join("bin"));
        fs::write(&program, "one").unwrap();
        let first = of(&program, &copies).unwrap();
        assert_eq!(first.file_name(), program.file_name());
        assert_eq!(of(&program, &copies).unwrap(), first);
        fs::write(&program, "second").unwrap();
        let second = of(&program, &copies).unwrap();
        assert_eq!(fs::read_to_string(&second).unwrap(), "second");
        assert!(!first.exists());
    }

    #[test]
    fn a_copy_that_is_not_whole_is_made_again_and_a_whole_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (program, copies) = (directory.path().join("daemon"), directory.path().join("bin"));
        fs::write(&program, "program").unwrap();
        let copy = of(&program, &copies).unwrap();
        fs::write(&copy, "prog").unwrap();
        assert_eq!(of(&program, &copies).unwrap(), copy);
        assert_eq!(fs::read_to_string(&copy).unwrap(), "program");
        fs::write(&copy, "PROGRAM").unwrap();
        assert_eq!(of(&program, &copies).unwrap(), copy);
        assert_eq!(fs::read_to_string(&copy).unwrap(), "PROGRAM", "it was not made again");
    }
}
