//! Unix systems that do not name the process at the other end of a socket.

use std::os::fd::BorrowedFd;

use super::peer::{Peer, PeerError, PeerUser, PidfdPolicy};

pub(crate) fn peer_of(_socket: BorrowedFd<'_>, _pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
    Err(PeerError::Unsupported)
}

pub(crate) fn user_of(_socket: BorrowedFd<'_>) -> Result<PeerUser, PeerError> {
    Err(PeerError::Unsupported)
}
