//! A process that takes the daemon's socket path and answers probes as itself.

use crate::failure::Failure;
use running_process::broker::backend_handle::{BackendHandle, BackendHandleError, DaemonProcess};
use running_process::broker::backend_lifecycle::probe::{
    IdentityMismatch, ProbeError, handle_endpoint_probe,
};
use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Takes the path, probes it as a client of the recorded daemon would, and gives the path back.
pub(super) fn refused(record: &DaemonProcess) -> Result<IdentityMismatch, Failure> {
    let identity = DaemonProcess::current_process(record.ipc_endpoint.clone(), None)
        .map_err(|error| Failure::undecided(error).context("the impostor cannot identify itself"))?;
    let taken = TakenPath::take(record.ipc_endpoint.path.as_ref())?;
    let listener = UnixListener::bind(&taken.path)?;
    let impostor = std::thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        handle_endpoint_probe(&mut stream, &identity).map_err(io::Error::other)
    });
    let probed = BackendHandle::probe_with_service("demo", "", &record.ipc_endpoint, record);
    match probed {
        Err(BackendHandleError::Probe(ProbeError::Mismatch(mismatch))) => {
            let answered = impostor.join().unwrap_or_else(|_| Err(io::Error::other("the impostor panicked")));
            answered.map_err(|error| Failure::undecided(error).context("the impostor did not answer"))?;
            Ok(mismatch)
        }
        Err(error) => Err(Failure::negative(error).context("the impostor was refused for another reason")),
        Ok(_) => Err(Failure::negative("the impostor was taken for the daemon")),
    }
}

/// The daemon's socket, put aside until this is dropped.
struct TakenPath {
    path: PathBuf,
    aside: PathBuf,
}

impl TakenPath {
    fn take(path: &Path) -> io::Result<Self> {
        let taken = Self { path: path.to_owned(), aside: path.with_extension("aside") };
        fs::rename(&taken.path, &taken.aside)?;
        Ok(taken)
    }
}

impl Drop for TakenPath {
    fn drop(&mut self) {
        // Replaces the impostor's socket. Should it fail, the daemon cannot be reached and the next step says so.
        let _reported_later = fs::rename(&self.aside, &self.path);
    }
}
