//! Unix systems that do not name the writers of bytes that a socket receives.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::peer::{Peer, PeerError, PeerEvidence, PidfdPolicy};

pub(crate) fn name_writers(_socket: BorrowedFd<'_>, _pidfds: PidfdPolicy) -> io::Result<PeerEvidence> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not name the writers of bytes"))
}

// The portable surface has errors here.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn forget_writers(_socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

pub(crate) fn recv_named(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    flags: RecvFlags,
    _pidfds: PidfdPolicy,
) -> Result<(usize, Option<Result<Peer, PeerError>>), Errno> {
    let (_, received) = recv(socket, buf, flags)?;
    Ok((received, (received > 0).then_some(Err(PeerError::Unsupported))))
}
