//! Making sockets.

use super::name;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, listen, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Number of connections that may wait to be accepted. The system reduces it to its own limit.
pub(super) const BACKLOG: i32 = 4096;

/// Writing to a closed connection is an error, never a signal to the process. Where the flag is missing the socket
/// carries an option that says the same.
#[cfg(not(target_vendor = "apple"))]
pub(super) const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(super) const SEND: SendFlags = SendFlags::empty();

/// Returns a new socket that does not block and that children do not inherit.
pub(super) fn new_socket() -> Result<OwnedFd, Errno> {
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
        // Two steps on this system: a child that another thread forks in between inherits the socket.
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    }
}

/// Returns a socket that listens at `path`, where no file is, and never accepts: its clients only wait for its end. The
/// caller's directory protects it.
pub(crate) fn listen_only(path: &Path) -> io::Result<OwnedFd> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let address = name::address(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let socket = new_socket()?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Returns whether an error of [`new_socket`] means that this process cannot have any socket, rather than no more.
pub(super) fn denies_sockets(error: Errno) -> bool {
    matches!(error, Errno::ACCESS | Errno::PERM | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::NOSYS)
}
