//! An impostor: it takes the daemon's socket path and answers probes with the daemon's identity.

use crate::failure::Failure;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::judge::compare;
use running_process::broker::backend_lifecycle::probe::{
    DEFAULT_PROBE_TIMEOUT, PeerRole, ProbeError, handle_endpoint_probe, probe_endpoint,
};
use running_process::broker::backend_lifecycle::verify::{Policy, Step, Unverified, verify};
use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The refusal of the impostor.
pub(super) struct Refusal {
    /// Number of comparisons of its answer with the expected identity, all of which agree.
    pub(super) comparisons: usize,
    pub(super) steps: Vec<Step>,
    pub(super) error: ProbeError,
}

/// Takes the daemon's path, verifies the impostor as a client would, and restores the path.
pub(super) fn refused(identity: &DaemonProcess) -> Result<Refusal, Failure> {
    let taken = TakenPath::take(identity.ipc_endpoint.path.as_ref())?;
    let listener = UnixListener::bind(&taken.path)?;
    let replayed = identity.clone();
    let impostor = std::thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        handle_endpoint_probe(&mut stream, &replayed).map_err(io::Error::other)?;
        // Accepts the connection of the verification, which ends before a byte is sent.
        listener.accept().map(drop)
    });
    let deadline = Instant::now() + DEFAULT_PROBE_TIMEOUT;
    let answered = probe_endpoint(&identity.ipc_endpoint, deadline).map_err(Failure::negative)?;
    let checks = compare(identity, &answered.identity);
    if checks.iter().any(|check| !check.agrees) {
        return Err(Failure::negative("the impostor did not repeat the identity"));
    }
    let verified = verify(identity, &Policy::default(), deadline);
    let served = impostor.join().unwrap_or_else(|_| Err(io::Error::other("the impostor panicked")));
    served.map_err(|error| Failure::undecided(error).context("the impostor did not answer"))?;
    match verified {
        Err(Unverified {
            error: error @ ProbeError::Impostor { role: PeerRole::Listener, .. },
            steps,
            ..
        }) => Ok(Refusal { comparisons: checks.len(), steps, error }),
        Err(unverified) => {
            Err(Failure::negative(unverified.error).context("the impostor was refused for another reason"))
        }
        Ok(_) => Err(Failure::negative("the impostor was taken for the daemon")),
    }
}

/// The path of the daemon's socket, from which the socket is moved aside until this is dropped.
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
        // Replaces the impostor's socket. If this fails, the next step cannot reach the daemon and reports it.
        let _reported_later = fs::rename(&self.aside, &self.path);
    }
}
