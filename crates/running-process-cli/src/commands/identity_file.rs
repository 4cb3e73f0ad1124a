//! Reads a daemon's identity file.

use crate::failure::Failure;
use crate::failure::advice::{self, Advice};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use std::path::Path;

/// Reads the identity file at `path`.
pub(super) fn read(path: &Path) -> Result<DaemonProcess, Failure> {
    match try_read_daemon_identity_file(path) {
        Ok(Some(daemon)) => Ok(daemon),
        Ok(None) => {
            let advice = Advice::undecided("no_identity_file")
                .hint("the daemon writes it when it starts: is the daemon running, and is this its path?");
            Err(Failure::new(format!("there is no identity file {}", path.display()), advice))
        }
        Err(error) => {
            let advice = advice::identity_file(&error);
            Err(Failure::new(error, advice)
                .context(format!("the identity file {} cannot be used", path.display())))
        }
    }
}
