//! The listening socket of an owned name, for other threads than the one that accepts.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::net::listen;

use super::directory::FileIdentity;
use super::socket::BACKLOG;
use super::watch;

/// The socket at which a listener listens now. It stays open only for as long as the listener has it.
#[derive(Clone, Debug)]
pub(crate) struct SharedSocket(Arc<Mutex<Current>>);

#[derive(Debug)]
struct Current {
    socket: Weak<OwnedFd>,
    path: PathBuf,
    /// Identity of the socket's file.
    identity: FileIdentity,
}

impl SharedSocket {
    pub(super) fn new(socket: &Arc<OwnedFd>, path: &Path, identity: FileIdentity) -> Self {
        let current = Current { socket: Arc::downgrade(socket), path: path.to_owned(), identity };
        Self(Arc::new(Mutex::new(current)))
    }

    pub(super) fn change(&self, socket: &Arc<OwnedFd>, identity: FileIdentity) {
        let mut current = self.lock();
        (current.socket, current.identity) = (Arc::downgrade(socket), identity);
    }

    /// Returns the socket and the identity of its file; `None` if the listener has been dropped. The caller keeps the socket open.
    pub(crate) fn get(&self) -> Option<(Arc<OwnedFd>, FileIdentity)> {
        let current = self.lock();
        Some((current.socket.upgrade()?, current.identity))
    }

    /// Returns whether the socket's file is the one at the path.
    pub(crate) fn is_in_place(&self) -> bool {
        let current = self.lock();
        watch::find(&current.path) == Some(current.identity)
    }

    /// Calls listen(2) once more: the system names this process as the peer of later connections, also of those that another
    /// process accepts. Connections that wait keep the name that they have.
    ///
    /// # Errors
    ///
    /// The listener has been dropped; otherwise the error of the system.
    pub(crate) fn listen_again(&self) -> io::Result<()> {
        let Some((socket, _)) = self.get() else { return Err(io::ErrorKind::NotConnected.into()) };
        Ok(listen(&socket, BACKLOG)?)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // No code that can panic runs between two changes of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
