//! Reading a daemon's identity file on behalf of a command.

use crate::failure::Failure;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{IdentityFileError, try_read_daemon_identity_file};
use std::io;
use std::path::Path;

pub(super) fn read(path: &Path) -> Result<DaemonProcess, Failure> {
    match try_read_daemon_identity_file(path) {
        Ok(Some(daemon)) => Ok(daemon),
        Ok(None) => Err(Failure::undecided(format!("there is no identity file {}", path.display()))
            .hint("the daemon writes it when it starts: is it running, and is this the path that it uses?")),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    let hint = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(IdentityFileError::NotARegularFile) => "name the file itself, not a link to it or a directory",
        Some(IdentityFileError::DirectoryWritableByOthers { .. }) => {
            "if you trust what is in it now: chmod 700 the directory"
        }
        Some(IdentityFileError::ForeignOwner { .. } | IdentityFileError::ForeignDirectory { .. }) => {
            "whoever owns the file chooses whom you talk to: run as that user, or restart the daemon as yours"
        }
        Some(IdentityFileError::WritableByOthers { .. }) => {
            "if you trust what it says now: chmod 600 the file"
        }
        Some(IdentityFileError::TooLarge | IdentityFileError::Malformed(_)) => {
            "is this the daemon's identity file? restarting the daemon writes it anew"
        }
        _ => "check the path and its permissions",
    };
    Failure::undecided(error)
        .context(format!("the identity file {} cannot be used", path.display()))
        .hint(hint)
}
