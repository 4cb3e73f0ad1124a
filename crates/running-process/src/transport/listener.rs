//! The owner of a local endpoint.

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::accepted::{Accepted, Republished};
use super::error::BindError;
use super::imp;
#[cfg(unix)]
use super::imp::{FileIdentity, SharedSocket};
use super::instance_lock::HeldLock;
use super::stop::StopSignal;
use super::stream::LocalStream;

/// The owner of a local endpoint, which accepts the connections made to it.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::broker::backend_sdk::{LocalListener, LocalStream, StopSignal};
/// use std::io::{Read, Write};
///
/// let directory = tempfile::tempdir()?;
/// let socket = directory.path().join("socket").into_os_string().into_string().unwrap();
/// let listener = LocalListener::bind(&socket)?;
/// assert!(LocalListener::bind(&socket).is_err(), "it has one owner");
/// LocalStream::connect(&socket)?.write_all(b"ping")?;
/// let mut received = String::new();
/// let accepted = listener.accept(&StopSignal::new()?)?; // `None` once the signal was given
/// accepted.ok_or("stopped")?.read_to_string(&mut received)?;
/// assert_eq!(received, "ping");
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Platform-specific behavior
///
/// On Unix the owner holds a lock on the file `PATH.lock`, which stays behind when the listener is dropped. The socket is
/// removed then, if it is still the listener's own. The socket and the lock have mode 0600. An
/// [inherited](Self::inherited) socket has no lock and stays.
///
/// On Windows the name vanishes with the last handle to the pipe, which may be a connection that outlives the listener.
/// Other machines are rejected, and only the same user may open the pipe. Sixteen clients can connect before the first
/// is accepted.
#[derive(Debug)]
pub struct LocalListener(pub(super) imp::Listener);

impl LocalListener {
    /// Takes the endpoint name `path` and listens there. From now on clients can connect.
    ///
    /// A socket that a daemon left behind is removed, and a new one bound under its name. A client that connects in between
    /// finds no endpoint instead of one without a listener. A socket that a process listens on, or anything that is not a
    /// socket, is left alone.
    ///
    /// # Platform-specific behavior
    ///
    /// On Unix `path` is the path of the socket; a relative one is made absolute. Its directory exists, belongs to this
    /// user or root, and cannot be written by other users unless it has the sticky bit, as `/tmp` has.
    ///
    /// On Windows `path` is the bare name of the pipe, without `\\.\pipe\`.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why: the name has an owner, is not a socket, or cannot be a name here.
    pub fn bind(path: &str) -> Result<Self, BindError> {
        imp::Listener::bind(path).map(Self)
    }

    /// Takes the endpoint name `path` as [`bind`](Self::bind) does, under a lock that this process holds: on any file, not on
    /// `PATH.lock`. The lock is released by its last owner.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind). The lock is dropped then.
    pub(crate) fn bind_locked(path: &str, lock: HeldLock) -> Result<Self, BindError> {
        imp::Listener::bind_locked(path, lock).map(Self)
    }

    /// Takes the socket that listens at `path` and that a service manager passed to this process by the protocol of
    /// `sd_listen_fds(3)`: `LISTEN_PID` is this process, `LISTEN_FDS` the number of descriptors from 3 on. Their
    /// names, `LISTEN_FDNAMES`, are ignored.
    ///
    /// `path` is the one that the service manager bound, not another way to the same file. The socket stays the service
    /// manager's: there is no lock, and it goes on listening when this value is dropped. It is put into non-blocking
    /// mode, also for other processes that share it.
    ///
    /// A process takes each socket once, even if its listener has been dropped. The variables stay in the environment;
    /// children see from `LISTEN_PID` that the sockets are not theirs. No other code of the process may take the same
    /// descriptors. If it marks them close-on-exec, as `sd_listen_fds(3)` does, that is an error here.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows has no such protocol. macOS does not tell whether a socket listens: one that does not is taken there,
    /// and accepting fails.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why: nothing was passed, nothing that listens at `path`, or it has been taken. On Windows it is
    /// always [`BindError::NotInheritable`], or says what is wrong with the name.
    pub fn inherited(path: &str) -> Result<Self, BindError> {
        imp::Listener::inherited(path).map(Self)
    }

    /// Returns whether another process has handed this listener over. A driver asks
    /// [`may_accept`](crate::broker::backend_sdk::ServerPolicy::may_accept) before it accepts from such a listener.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.0.is_handed_over()
    }

    /// Takes over the socket that listens at `path` and has the file `file` there, with the `lock` on any file: the daemon before
    /// this process has passed both. It accepts as well, until the lock is this process's [own](HeldLock::own).
    ///
    /// # Errors
    ///
    /// The socket is not the one at the path, or its directory lets other users in.
    #[cfg(unix)]
    pub(crate) fn from_handover(
        path: &str,
        socket: OwnedFd,
        file: FileIdentity,
        lock: HeldLock,
    ) -> Result<Self, BindError> {
        imp::Listener::from_handover(path, socket, file, lock).map(Self)
    }

    /// Takes the socket that listens at `path` and that a service manager passed to this process; `None` if it passed none for it.
    ///
    /// # Errors
    ///
    /// This process has taken it before, or it cannot be prepared.
    #[cfg(unix)]
    pub(crate) fn take_passed(path: &str) -> Result<Option<OwnedFd>, BindError> {
        match imp::take_passed(path) {
            Ok(socket) => Ok(Some(socket)),
            Err(
                BindError::NotInherited { .. }
                | BindError::InheritedElsewhere { .. }
                | BindError::InheritedUnusable { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Serves the `socket` that was [passed](Self::take_passed) for `path`, with the `lock` on any file. The system names this process
    /// as the listener from now on. The socket stays the service manager's: it is not removed, and goes on listening.
    ///
    /// # Errors
    ///
    /// The socket is not at the path any more.
    #[cfg(unix)]
    pub(crate) fn from_service_manager(
        path: &str,
        socket: OwnedFd,
        lock: HeldLock,
    ) -> Result<Self, BindError> {
        imp::Listener::passed(path, socket, lock).map(Self)
    }

    /// Returns the socket for other threads; `None` if it is a service manager's.
    #[cfg(unix)]
    pub(crate) fn shared_socket(&self) -> Option<SharedSocket> {
        self.0.shared_socket()
    }

    /// Waits for the next connection. Returns `None` once `stop` has been given, which wins over connections that wait.
    ///
    /// # Errors
    ///
    /// The error of the system, such as too many open files. The listener is as good as before then, and the connection
    /// still waits.
    pub fn accept(&self, stop: &StopSignal) -> io::Result<Option<LocalStream>> {
        loop {
            match self.next(stop)? {
                Accepted::Connection(stream) => return Ok(Some(stream)),
                Accepted::Stopped => return Ok(None),
                Accepted::NameLost => {}
            }
        }
    }

    /// Accepts a connection that waits already. Returns `None` if there is none: for an event loop that waits until this
    /// listener is readable.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept).
    #[cfg(unix)]
    pub fn accept_now(&self) -> io::Result<Option<LocalStream>> {
        Ok(self.0.accept_now()?.map(LocalStream))
    }

    /// Takes the name away, so that no further client connects. Connections that wait already can still be accepted, by
    /// [`accept_waiting`](Self::accept_waiting). The lock stays until [`end`](Self::end), or until the listener is dropped.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux refuses a client that connects at the same moment. On macOS, FreeBSD and Windows such a client may find its
    /// connection reset later. An [inherited](Self::inherited) socket stays as it is, for the successor.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Accepts a connection that waited when the listener was [closed](Self::close). Returns `None` if there is no more.
    /// Connections to an inherited socket wait for the successor.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept).
    pub(crate) fn accept_waiting(&self) -> io::Result<Option<LocalStream>> {
        Ok(self.0.accept_waiting()?.map(LocalStream))
    }

    /// Closes the listener, resets the connections that wait, and gives up the lock.
    pub(crate) fn end(&self) {
        self.0.end();
    }

    /// Begins to watch the path of the socket, where the system can: `is_name_lost` then tells when the
    /// socket was removed or replaced.
    ///
    /// # Errors
    ///
    /// The system cannot watch it, or lets this user have no more watches.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux, macOS and FreeBSD watch it, as long as the user may have another watch. A Windows pipe cannot lose its name.
    pub fn watch_name(&mut self) -> io::Result<()> {
        self.0.watch_name(false)
    }

    /// Watches the path of the socket, as [`watch_name`](Self::watch_name) does, and the directory of the lock.
    /// [`is_name_lost`](Self::is_name_lost) then tells of each file that is removed or moved there, not only once.
    ///
    /// # Errors
    ///
    /// As [`watch_name`](Self::watch_name).
    pub(crate) fn watch_service(&mut self) -> io::Result<()> {
        self.0.watch_name(true)
    }

    /// Takes the lock and the name again, if the lock file or the socket was removed or replaced.
    ///
    /// # Errors
    ///
    /// Another process has the lock or the name by now, or they cannot be taken. The listener is the former one.
    pub(crate) fn publish_again(&mut self) -> Result<Republished<LocalStream>, BindError> {
        Ok(self.0.publish_again()?.map(LocalStream))
    }

    /// Returns a descriptor that becomes readable when [`is_name_lost`](Self::is_name_lost) is to be called; `None` if the path
    /// is not [watched](Self::watch_name).
    #[cfg(unix)]
    #[must_use]
    pub fn name_events(&self) -> Option<BorrowedFd<'_>> {
        self.0.name_events()
    }

    /// Returns whether the name was lost since the last call, so that no further client finds this listener. A driver calls
    /// it once after [`watch_name`](Self::watch_name), and whenever [`name_events`](Self::name_events) is readable.
    #[cfg(unix)]
    #[must_use]
    pub fn is_name_lost(&self) -> bool {
        self.0.is_name_lost()
    }

    /// Waits as [`accept`](Self::accept) does, and also returns, once, when the name is lost that is
    /// [watched](Self::watch_name).
    pub(crate) fn next(&self, stop: &StopSignal) -> io::Result<Accepted<LocalStream>> {
        Ok(self.0.next(&stop.0)?.map(LocalStream))
    }
}

/// Ready for reading when a connection waits. The socket does not block.
#[cfg(unix)]
impl AsFd for LocalListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
