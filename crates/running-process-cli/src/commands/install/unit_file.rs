//! The file of a unit, which no other author's file gives way to.

use crate::failure::Failure;
use crate::failure::advice::Advice;
use crate::text::{quoted, safe};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The words in each file that this command writes.
pub(super) const MARK: &str = "Written by `running-process install`.";

/// A file that is to be written.
pub(super) struct UnitFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl UnitFile {
    /// Fails if there is a file that this command has not written.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let foreign = match fs::read(&self.path) {
            Ok(found) => !String::from_utf8_lossy(&found).contains(MARK),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.symlink_metadata().is_ok(),
            Err(error) => return Err(unusable(error, &self.path)),
        };
        if !foreign {
            return Ok(());
        }
        let error =
            format!("{} was not written by this command, and was left alone", safe(self.path.display()));
        Err(Failure::new(error, Advice::no("unit_of_another"))
            .hint("move that file away, or give the service's file another name"))
    }

    /// Writes the file as a whole, and returns whether it is new or has changed.
    pub(super) fn write(&self) -> Result<bool, Failure> {
        let write = || -> io::Result<bool> {
            if fs::read_to_string(&self.path).is_ok_and(|found| found == self.text) {
                return Ok(false);
            }
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            }
            file.write_all(self.text.as_bytes())?;
            file.persist(&self.path)?;
            Ok(true)
        };
        write().map_err(|error| unusable(error, &self.path))
    }
}

/// Removes the file at `path`, and returns whether there was one.
pub(super) fn remove(path: &Path) -> Result<bool, Failure> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unusable(error, path)),
    }
}

fn unusable(error: io::Error, path: &Path) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this user may not: look at the owners and modes of its directories; --print shows the units, to be installed by hand"
        }
        _ => {
            "the directory of units is to be one that you can write; --print shows the units, to be installed by hand"
        }
    };
    Failure::from(error)
        .context(format!("the unit {} cannot be written or read", safe(path.display())))
        .hint(hint)
}

/// Returns the failure of a text that the service manager cannot take.
pub(super) fn inexpressible(what: &str, text: &str, reason: &str) -> Failure {
    let error = format!("{what} {} {reason}", quoted(text));
    Failure::new(error, Advice::undecided("inexpressible_unit"))
        .hint("use another path or value in the service's file")
}
