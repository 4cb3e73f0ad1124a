//! Unix-domain sockets.

mod arrived;
#[cfg(feature = "tokio")]
mod asynchronous;
mod claim;
mod directory;
mod inherited;
mod listener;
mod lock;
mod name;
mod stop;
mod stream;
mod timeouts;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod watch;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd")))]
#[path = "unwatched.rs"]
mod watch;

#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{
    AsyncListener, AsyncStream, connect_async, into_async, poll_read_onto, poll_write, read_arrived_onto,
};
#[cfg(feature = "tokio")]
pub(super) use asynchronous::{AsyncWait, poll_read, read_arrived, retry_write};
pub(crate) use directory::{Directory, FileIdentity, type_of};
pub use listener::LocalListener;
pub use stop::StopSignal;
pub use stream::LocalStream;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::os::fd::OwnedFd;

/// A new socket that does not block and is not inherited by children.
fn new_socket() -> Result<OwnedFd, Errno> {
    #[cfg(not(target_vendor = "apple"))]
    return socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    );
    #[cfg(target_vendor = "apple")]
    {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
        // Not one step on this system: a child forked at this very moment by another thread inherits the socket.
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    }
}

/// Whether an error of [`new_socket`] means that this process cannot have any, rather than no more.
fn denies_sockets(error: Errno) -> bool {
    matches!(error, Errno::ACCESS | Errno::PERM | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::NOSYS)
}
