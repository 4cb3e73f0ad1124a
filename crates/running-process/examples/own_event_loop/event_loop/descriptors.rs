//! Reads and writes with file descriptors.

use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The most descriptors that one `sendmsg` takes, and one `recvmsg` returns.
const MOST: usize = 253;

/// Reads into `buffer`, and appends the descriptors that came along. Returns the number of bytes, and whether the system has dropped
/// descriptors.
pub(crate) fn receive(
    socket: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(usize, bool), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(buffer)];
    let received = retry_on_intr(|| recvmsg(socket, &mut buffers, &mut control, CLOSE_ON_EXEC))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    keep_from_children(descriptors)?;
    Ok((received.bytes, received.flags.contains(ReturnFlags::CTRUNC)))
}

/// Writes the start of `slices`, and sends copies of `descriptors` with the first byte. Returns the number of bytes.
pub(crate) fn send(
    socket: &UnixStream,
    slices: &[IoSlice<'_>],
    descriptors: &[OwnedFd],
) -> io::Result<usize> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A signal makes the session write again. Rust programs ignore SIGPIPE.
    Ok(sendmsg(socket, slices, &mut control, SendFlags::empty())?)
}

#[cfg(not(target_vendor = "apple"))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

/// Marks received descriptors close-on-exec, where the system does not.
fn keep_from_children(descriptors: &[OwnedFd]) -> Result<(), Errno> {
    if cfg!(target_vendor = "apple") {
        for descriptor in descriptors {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}
