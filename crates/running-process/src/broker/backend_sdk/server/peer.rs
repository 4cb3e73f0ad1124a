//! The credentials of a peer, and the default rule about them.

use crate::sys::{PeerError, PeerUser};
#[cfg(unix)]
use crate::sys::{UnmappedUser, own_user};
use crate::transport::LocalStream;
use std::{fmt, io};

/// The process and the user that made a connection, as the operating system reports them. Authorize by the user: the process
/// may have exited since, and another may have its number.
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

impl fmt::Display for PeerCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(formatter, "process {pid}")?,
            None => formatter.write_str("a process without a number here")?,
        }
        self.uid.map_or(Ok(()), |uid| write!(formatter, " of user {uid}"))
    }
}

impl PeerCredentials {
    /// Returns the credentials of a peer that the caller knows, such as those of a socket that it accepted.
    #[must_use]
    pub fn new(pid: Option<u32>, uid: Option<u32>) -> Self {
        Self { pid, uid }
    }

    /// Returns the credentials of this process, for connections within it.
    ///
    /// # Platform-specific behavior
    ///
    /// There is no user on Windows, nor in a user namespace of Linux that does not map the user of this process.
    #[must_use]
    pub fn current_process() -> Self {
        #[cfg(unix)]
        let uid = own_user().ok();
        #[cfg(not(unix))]
        let uid = None;
        Self { pid: Some(std::process::id()), uid }
    }

    /// Returns the credentials that the system reports of a connection.
    pub(crate) fn of(user: Result<PeerUser, PeerError>) -> io::Result<Self> {
        match user {
            Ok(user) => Ok(Self { pid: user.pid, uid: user.uid }),
            Err(PeerError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Returns whether the connection was made by the user that this process acts as; `false` where that cannot be told.
    ///
    /// # Platform-specific behavior
    ///
    /// In a user namespace of Linux that does not map the user of this process, every user has the same number, its own
    /// included: then this is `false` for all.
    #[must_use]
    pub fn is_same_user(&self) -> bool {
        self.compare_user().is_ok_and(|same| same)
    }

    #[cfg(unix)]
    fn compare_user(&self) -> Result<bool, UnmappedUser> {
        Ok(self.uid == Some(own_user()?))
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, reason = "other systems cannot always tell")]
    fn compare_user(&self) -> Result<bool, std::convert::Infallible> {
        Ok(self.uid.is_none())
    }
}

impl LocalStream {
    /// Returns the credentials of the process that made this connection, which was accepted.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        PeerCredentials::of(self.user())
    }
}

/// The reason for which a peer is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotAuthorized {
    reason: String,
}

impl NotAuthorized {
    /// Returns the reason, one line, which the peer is told.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Accepts the daemon's own user and no other, not even the superuser. This is the default rule.
pub(super) fn same_user(peer: &PeerCredentials) -> Result<(), NotAuthorized> {
    match peer.compare_user() {
        Ok(true) => Ok(()),
        Ok(false) => Err(NotAuthorized::new("this daemon serves its own user only")),
        Err(error) => Err(NotAuthorized::new(format!("this daemon serves its own user only: {error}"))),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::own_process;
    use std::process::Command;

    fn peer(uid: u32) -> PeerCredentials {
        PeerCredentials { pid: None, uid: Some(uid) }
    }

    #[test]
    fn only_the_daemons_own_user_is_served() {
        let own = rustix::process::geteuid().as_raw();
        assert!(same_user(&peer(own)).is_ok() && peer(own).is_same_user());
        let stranger = peer(own + 1);
        assert!(same_user(&stranger).is_err() && !stranger.is_same_user());
    }

    #[test]
    #[ignore = "started by the next test in a user namespace that maps no user"]
    fn every_user_is_refused_in_a_namespace_without_users() {
        let own = rustix::process::geteuid().as_raw();
        let refused = same_user(&peer(own)).unwrap_err().to_string();
        assert!(refused.contains("user namespace") && !peer(own).is_same_user(), "{refused}");
    }

    #[test]
    fn no_user_is_served_where_users_cannot_be_told_apart() {
        let mut unshared = Command::new("unshare");
        unshared.arg("--user").arg(std::env::current_exe().unwrap());
        unshared.args(own_process::arguments(every_user_is_refused_in_a_namespace_without_users));
        match unshared.output() {
            Ok(output) if !output.stdout.is_empty() => own_process::assert_passed(&output),
            refused => eprintln!("skipped: a user namespace cannot be had: {refused:?}"),
        }
    }
}
