//! The error of binding, from the error of a system call.

use std::sync::Arc;

use rustix::io::Errno;

use super::super::error::BindError;
use super::socket::denies_sockets;

/// The call that failed, with its error.
pub(super) enum ListenError {
    Socket(Errno),
    Bind(Errno),
}

/// Returns the error for the endpoint at `path`.
pub(super) fn bind_error(path: &str, error: impl Into<ListenError>) -> BindError {
    let error = error.into();
    let path = path.to_owned();
    match error {
        ListenError::Socket(error) if denies_sockets(error) => {
            BindError::Unavailable { source: Arc::new(error.into()) }
        }
        ListenError::Bind(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            BindError::PermissionDenied { path, source: Arc::new(error.into()) }
        }
        ListenError::Bind(error @ (Errno::OPNOTSUPP | Errno::NODEV)) => {
            BindError::NoSockets { path, source: Arc::new(error.into()) }
        }
        ListenError::Bind(Errno::NOENT) => BindError::NoDirectory { path },
        ListenError::Bind(Errno::ADDRINUSE | Errno::EXIST) => BindError::InUse { path },
        ListenError::Bind(error) | ListenError::Socket(error) => {
            BindError::Io { path, source: Arc::new(error.into()) }
        }
    }
}

impl From<Errno> for ListenError {
    fn from(error: Errno) -> Self {
        Self::Bind(error)
    }
}
