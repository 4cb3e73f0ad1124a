//! macOS and FreeBSD: the process at the other end of a Unix-domain socket.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::peer::{Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy, open_named};
#[cfg(target_os = "macos")]
use super::process::ProcessHandle;

/// Returns the process at the other end of `socket`.
///
/// On FreeBSD that is the process that called `listen`, or `connect` if `socket` was accepted. On macOS it is the
/// process that last used the other end. The macOS token carries the version of the pid, so the second query of
/// `open_named` notices a pid that was given to another process.
pub(crate) fn peer_of(socket: BorrowedFd<'_>, _pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
    let ask = || named(socket).map_err(|error| exited_peer(socket).unwrap_or(PeerError::Io(error)));
    let (process, name) = open_named(ask, |name| name.pid)?;
    Ok(Peer { process, evidence: EVIDENCE, uid: Some(name.uid) })
}

/// Returns the process and the user that made the connection accepted as `socket`.
pub(crate) fn user_of(socket: BorrowedFd<'_>) -> Result<PeerUser, PeerError> {
    let name = named(socket).map_err(|error| exited_peer(socket).unwrap_or(PeerError::Io(error)))?;
    Ok(PeerUser { pid: Some(name.pid), uid: Some(name.uid) })
}

/// Returns the error for a process that has exited: it has no token any more, but still its pid.
#[cfg(target_os = "macos")]
fn exited_peer(socket: BorrowedFd<'_>) -> Option<PeerError> {
    // SAFETY: the value of this option is the number of a process, an integer.
    let pid = unsafe { socket_option::<u32>(socket, libc::LOCAL_PEERPID) }.ok()?;
    matches!(ProcessHandle::open(pid), Ok(None)).then_some(PeerError::Gone { pid })
}

#[cfg(target_os = "freebsd")]
fn exited_peer(_socket: BorrowedFd<'_>) -> Option<PeerError> {
    None
}

#[cfg(target_os = "macos")]
const EVIDENCE: PeerEvidence = PeerEvidence::AuditToken;
#[cfg(target_os = "freebsd")]
const EVIDENCE: PeerEvidence = PeerEvidence::Credentials;

#[derive(Debug, PartialEq, Eq)]
struct Name {
    pid: u32,
    uid: u32,
    /// Distinguishes processes that had the same pid, where the system counts them.
    version: u32,
}

#[cfg(target_os = "macos")]
fn named(socket: BorrowedFd<'_>) -> io::Result<Name> {
    // `audit_token_t` in `mach/message.h` is eight integers; `audit_token_to_pid(3)` and its kin say what they are.
    // SAFETY: the value of this option is such a token.
    let token = unsafe { socket_option::<[u32; 8]>(socket, libc::LOCAL_PEERTOKEN) }?;
    Ok(Name { pid: token[5], uid: token[1], version: token[7] })
}

#[cfg(target_os = "freebsd")]
fn named(socket: BorrowedFd<'_>) -> io::Result<Name> {
    // SAFETY: the value of this option is an `xucred`, a C struct of integers.
    let found = unsafe { socket_option::<libc::xucred>(socket, libc::LOCAL_PEERCRED) }?;
    // SAFETY: the kernel has filled the union through this field since FreeBSD 13, and before it left zeros there; every
    // bit pattern is a number.
    let pid = unsafe { found.cr_pid__c_anonymous_union.cr_pid };
    if found.cr_version != libc::XUCRED_VERSION || pid <= 0 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the credentials of the peer have no number"));
    }
    Ok(Name { pid: pid.cast_unsigned(), uid: found.cr_uid, version: 0 })
}

/// # Safety
///
/// The value of the option `name` of the level `SOL_LOCAL` is a `T`, for which every bit pattern is valid.
unsafe fn socket_option<T>(socket: BorrowedFd<'_>, name: c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: `value` is exclusively borrowed and `size` bytes long, and both live longer than the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_LOCAL, name, value.as_mut_ptr().cast(), &raw mut size)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::try_from(size) != Ok(size_of::<T>()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the option has another size"));
    }
    // SAFETY: the kernel has filled it, and the caller vouches for every bit pattern.
    Ok(unsafe { value.assume_init() })
}
