//! Descriptors that are passed along with bytes: `SCM_RIGHTS` in unix(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::super::incoming::Incoming;
use super::socket::SEND;

/// Maximum number of descriptors in one message of few.
pub(crate) const MAX_DESCRIPTORS: usize = 4;

/// Maximum number of descriptors in one message of the system: `SCM_MAX_FD` in unix(7).
const MOST: usize = 253;

/// Sends all of `bytes`, which are not empty, and copies of `descriptors` with the first of them. Does not wait.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] if not all of it fits at once; [`io::ErrorKind::InvalidInput`] for more than
/// [`MAX_DESCRIPTORS`]; otherwise the error of the system.
pub(crate) fn send_descriptors(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = send_with(socket, &[IoSlice::new(bytes)], descriptors, SEND | SendFlags::DONTWAIT)?;
    // A part of a few bytes is sent only into a buffer that the peer does not empty.
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Sends the start of `pieces`, of which one at least is not empty, and copies of `descriptors` with the first byte. Returns the
/// number of bytes.
#[cold]
pub(super) fn send_with(
    socket: impl AsFd,
    pieces: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    retry_on_intr(|| sendmsg(&socket, pieces, &mut control, flags))
}

/// Receives what has arrived into the start of `buffer`, and appends the descriptors that came along to `descriptors`. Returns
/// the number of bytes; 0 is the end of the stream. Programs that this process runs do not inherit them.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] if nothing has arrived; [`io::ErrorKind::InvalidData`] if more descriptors came than
/// [`MAX_DESCRIPTORS`], all of which are closed; otherwise the error of the system.
pub(crate) fn receive_descriptors(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut incoming = Incoming::default();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let received = receive(socket, buffer, RecvFlags::DONTWAIT, &mut space, &mut incoming)?;
    if incoming.truncated {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many descriptors came along"));
    }
    descriptors.append(&mut incoming.descriptors);
    Ok(received)
}

/// Receives what has arrived into the start of `buffer`, which is not empty, and the descriptors that came along, of one message at
/// most.
pub(super) fn receive_with(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
    incoming: &mut Incoming,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    receive(socket, buffer, flags, &mut space, incoming)
}

fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
    space: &mut [MaybeUninit<u8>],
    incoming: &mut Incoming,
) -> Result<usize, Errno> {
    let mut control = RecvAncillaryBuffer::new(space);
    let flags = flags | CLOSE_ON_EXEC;
    let received = retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags))?;
    let before = incoming.descriptors.len();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            incoming.descriptors.extend(rights);
        }
    }
    incoming.truncated |= received.flags.contains(ReturnFlags::CTRUNC);
    keep_from_children(&incoming.descriptors[before..])?;
    Ok(received.bytes)
}

#[cfg(not(target_vendor = "apple"))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

#[cfg(not(target_vendor = "apple"))]
#[expect(clippy::unnecessary_wraps, reason = "it fails on macOS")]
fn keep_from_children(_: &[OwnedFd]) -> Result<(), Errno> {
    Ok(())
}

/// Makes the descriptors close-on-exec: a child that another thread forks before that inherits them.
#[cfg(target_vendor = "apple")]
fn keep_from_children(descriptors: &[OwnedFd]) -> Result<(), Errno> {
    descriptors
        .iter()
        .try_for_each(|descriptor| rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    fn inode(file: &impl AsFd) -> u64 {
        File::from(file.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino()
    }

    #[test]
    fn descriptors_come_with_the_first_byte_and_are_not_inherited() {
        let (one, other) = UnixStream::pair().unwrap();
        let (first, second) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        send_descriptors(&one, b"abc", &[first.as_fd(), second.as_fd()]).unwrap();
        let (mut byte, mut came) = ([0], Vec::new());
        assert_eq!(receive_descriptors(&other, &mut byte, &mut came).unwrap(), 1);
        let inodes: Vec<_> = came.iter().map(inode).collect();
        assert_eq!(inodes, [inode(&first), inode(&second)]);
        assert!(came.iter().all(|descriptor| fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC)));
        let mut rest = [0; 8];
        assert_eq!(receive_descriptors(&other, &mut rest, &mut came).unwrap(), 2);
        assert_eq!((&rest[..2], came.len()), (&b"bc"[..], 2));
        let nothing = receive_descriptors(&other, &mut rest, &mut came).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert_eq!(receive_descriptors(&other, &mut rest, &mut came).unwrap(), 0);
    }

    #[test]
    fn more_descriptors_than_allowed_are_closed() {
        let (one, other) = UnixStream::pair().unwrap();
        let (passed, watched) = UnixStream::pair().unwrap();
        let many = [passed.as_fd(); MAX_DESCRIPTORS + 5];
        assert_eq!(send_descriptors(&one, b"a", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS + 5))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        sendmsg(&one, &[IoSlice::new(b"a")], &mut control, SendFlags::empty()).unwrap();
        let mut came = Vec::new();
        let error = receive_descriptors(&other, &mut [0; 8], &mut came).unwrap_err();
        assert_eq!((error.kind(), came.len()), (io::ErrorKind::InvalidData, 0));
        drop(passed);
        // The end of the stream: no copy of the other end is left.
        assert_eq!(receive_descriptors(&watched, &mut [0], &mut came).unwrap(), 0);
    }
}
