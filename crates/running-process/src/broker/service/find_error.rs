use super::place_error::PlaceError;
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::transport::BindError;
use std::io;
use std::path::PathBuf;

/// The reason why the state of a service cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The service has no place for its files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The identity file cannot be read, or others could have written it.
    #[error("the identity file {} of the service cannot be used", path.display())]
    IdentityFile {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The record of the service manager that starts the daemon cannot be read or written: the file `activation` in the service's
    /// directory. Install the service again, or remove the file.
    #[error("the record of the service's service manager cannot be used")]
    Activation(#[source] io::Error),
    /// The lock cannot be examined.
    #[error("the lock of the service cannot be used")]
    Lock(#[source] BindError),
    /// The system gives this process no thread for the call, which an asynchronous caller needs.
    #[error("no thread can be made for the call")]
    NoThread(#[source] io::Error),
    /// The daemon's socket cannot be reached from here, or the caller's policy refuses the daemon.
    #[error("the daemon of the service cannot be used")]
    Probe(#[source] ProbeError),
}
