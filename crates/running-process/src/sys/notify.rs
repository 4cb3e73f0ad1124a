//! Notifications of a daemon's state, by the protocol of `sd_notify(3)`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::linux_peer as imp;
use super::notification::{LONGEST, Notification, SEND_TIMEOUT};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::notify_senders as imp;
use super::peer::PeerUser;

/// A socket to which a daemon and its children send notifications.
///
/// # Platform-specific behavior
///
/// macOS names no sender of a datagram. There only the mode of the directory keeps other users away.
#[derive(Debug)]
pub(crate) struct NotifySocket(OwnedFd);

impl NotifySocket {
    /// Binds the socket at `path`. Nothing removes the name later.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] if something stands at `path`; `ENAMETOOLONG` if it is longer than a socket's path may be;
    /// otherwise the error of the system.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let socket = datagrams()?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        imp::name_senders(socket.as_fd())?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    /// Receives the next notification; returns `None` if there is none yet. Longer ones than 4096 bytes are left out.
    /// Descriptors that the sender passed along are closed.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn receive(&self) -> io::Result<Option<Notification>> {
        let mut buffer = [0; LONGEST + 1];
        loop {
            match imp::receive_named(self.0.as_fd(), &mut buffer) {
                Ok((received, _)) if received > LONGEST => {}
                Ok((received, PeerUser { pid, uid })) => {
                    let text = buffer[..received].to_vec();
                    return Ok(Some(Notification { sender_pid: pid, sender_uid: uid, text }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The descriptor is readable while a notification waits.
impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends `text` to the socket `address`, the value of `NOTIFY_SOCKET`: an absolute path, or on Linux `@` and an abstract
/// name. Waits at most a second for room in its queue.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] if the address has another form; otherwise the error of the system, such as
/// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::ConnectionRefused`] if nothing receives.
pub(crate) fn notify(address: &OsStr, text: &[u8]) -> io::Result<()> {
    let address = match address.as_bytes() {
        [b'/', ..] => SocketAddrUnix::new(Path::new(address))?,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        [b'@', name @ ..] if !name.is_empty() => SocketAddrUnix::new_abstract_name(name)?,
        _ => {
            let message =
                format!("\"{}\" is not the address of a socket for notifications", address.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    let socket = datagrams()?;
    set_socket_timeout(&socket, Timeout::Send, Some(SEND_TIMEOUT))?;
    rustix::io::retry_on_intr(|| rustix::net::sendto(&socket, text, SendFlags::empty(), &address))?;
    Ok(())
}

/// Returns a datagram socket that programs do not inherit.
fn datagrams() -> io::Result<OwnedFd> {
    #[cfg(not(target_os = "macos"))]
    let flags = SocketFlags::CLOEXEC;
    #[cfg(target_os = "macos")]
    let flags = SocketFlags::empty();
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    #[cfg(target_os = "macos")]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_arrives_with_its_sender() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = NotifySocket::bind(&path).unwrap();
        assert_eq!(socket.receive().unwrap(), None);
        notify(path.as_os_str(), b"STATUS=nearly\nREADY=1").unwrap();
        notify(path.as_os_str(), b"").unwrap();
        let first = socket.receive().unwrap().unwrap();
        assert_eq!(first.text, b"STATUS=nearly\nREADY=1");
        if !cfg!(target_os = "macos") {
            assert_eq!(first.sender_pid, Some(std::process::id()));
            assert_eq!(first.sender_uid, Some(rustix::process::geteuid().as_raw()));
        }
        assert_eq!(socket.receive().unwrap().unwrap().text, b"");
        assert_eq!(socket.receive().unwrap(), None);
    }

    #[test]
    fn a_notification_that_is_too_long_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = NotifySocket::bind(&path).unwrap();
        notify(path.as_os_str(), &[b'x'; LONGEST + 1]).unwrap();
        notify(path.as_os_str(), &[b'x'; 3 * LONGEST]).unwrap();
        notify(path.as_os_str(), &[b'x'; LONGEST]).unwrap();
        assert_eq!(socket.receive().unwrap().unwrap().text.len(), LONGEST);
        assert_eq!(socket.receive().unwrap(), None);
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _first = NotifySocket::bind(&path).unwrap();
        assert_eq!(NotifySocket::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn nothing_is_sent_to_an_address_of_another_form() {
        for address in ["", "@", "relative/path", "vsock:2:1234"] {
            assert_eq!(
                notify(OsStr::new(address), b"READY=1").unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
        assert_eq!(notify(OsStr::new("/nowhere/at/all"), b"").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_abstract_name_is_written_with_an_at_sign() {
        let name = format!("running-process-test-{}", std::process::id());
        let socket = datagrams().unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
        notify(OsStr::new(&format!("@{name}")), b"READY=1").unwrap();
        assert_eq!(NotifySocket(socket).receive().unwrap().unwrap().text, b"READY=1");
    }
}
