//! Who may be served.

use crate::sys::{PeerError, PeerUser};
use std::io;

/// Who made a connection, as the operating system says. The process may have exited since, and its number been given to
/// another: the user is what to authorize by.
///
/// # Platform-specific behavior
///
/// On Windows there is no user: a pipe of this library can be opened by the daemon's own user only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The process that connected, if it has a number in this pid namespace.
    pub pid: Option<u32>,
    /// Its effective user when it connected.
    pub uid: Option<u32>,
}

impl PeerCredentials {
    /// What the system says of who made a connection.
    pub(in super::super) fn of(user: Result<PeerUser, PeerError>) -> io::Result<Self> {
        match user {
            Ok(user) => Ok(Self { pid: user.pid, uid: user.uid }),
            Err(PeerError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Whether the connection was made by the user that this process acts as.
    #[must_use]
    pub fn is_same_user(&self) -> bool {
        #[cfg(unix)]
        let own = Some(rustix::process::geteuid().as_raw());
        #[cfg(not(unix))]
        let own = None;
        self.uid == own
    }
}

/// Why a peer is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotAuthorized {
    reason: String,
}

impl NotAuthorized {
    /// The peer is told `reason`, one line.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// The default: the daemon's own user and nobody else, not even the superuser.
pub(super) fn same_user(peer: &PeerCredentials) -> Result<(), NotAuthorized> {
    if peer.is_same_user() { Ok(()) } else { Err(NotAuthorized::new("this daemon serves its own user only")) }
}
