//! Linux: the process at the other end of a Unix-domain socket, and the writers of what the socket receives.
//!
//! The kernel names processes by credentials, and since 6.5 also by pidfds; unix(7) has both. Credentials carry a
//! number in this process's pid namespace, which is 0 for a process that has none there. So they are read in any case.
//! A pidfd of a process without a number is not used: `/proc` may belong to a namespace where it has one.
//!
//! A writer with `CAP_SYS_ADMIN` over its pid namespace may name another process of that namespace as the writer.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{ptr, slice};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::sockopt::set_socket_passcred;

use super::imp;
use super::peer::{Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy, open_named};
use super::process::ProcessHandle;

#[cfg(target_os = "linux")]
use libc::{SO_PASSPIDFD, SO_PEERPIDFD};
#[cfg(target_os = "android")]
const SO_PASSPIDFD: c_int = 76;
#[cfg(target_os = "android")]
const SO_PEERPIDFD: c_int = 77;
/// A control message with one pidfd (`linux/socket.h`).
const SCM_PIDFD: c_int = 4;

/// Size of the control data with a name of the writer in both forms, and of nothing else.
// SAFETY: the function only calculates.
const CONTROL: usize =
    unsafe { libc::CMSG_SPACE(size_of_u32::<libc::ucred>()) + libc::CMSG_SPACE(size_of_u32::<c_int>()) }
        as usize;
/// The user that the kernel shows for one that cannot be expressed here (the default of
/// `/proc/sys/kernel/overflowuid`).
const OVERFLOW_USER: u32 = 65_534;

/// Returns the size of a small type.
#[allow(clippy::cast_possible_truncation)]
const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}

/// Returns the process that called `listen` at the other end of `socket`, or `connect` if `socket` was accepted.
pub(crate) fn peer_of(socket: BorrowedFd<'_>, pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
    if pidfds == PidfdPolicy::Use {
        let Credentials { pid, uid } = peer_credentials(socket)?;
        if pid == 0 {
            return Err(PeerError::OtherNamespace);
        }
        match peer_pidfd(socket) {
            Ok(pidfd) => {
                let process = ProcessHandle(imp::ProcessHandle::from_pidfd(pid, pidfd));
                return match process.has_exited() {
                    Ok(false) => Ok(Peer { process, evidence: PeerEvidence::PidFd, uid: Some(uid) }),
                    Ok(true) => Err(PeerError::Gone { pid }),
                    Err(error) => Err(PeerError::Io(error)),
                };
            }
            Err(Errno::NOPROTOOPT) => {}
            Err(error) => return Err(no_pidfd(pid, error)),
        }
    }
    by_credentials(|| peer_credentials(socket))
}

/// Makes the kernel note the writer of what `socket` receives from now on.
pub(crate) fn name_writers(socket: BorrowedFd<'_>, pidfds: PidfdPolicy) -> io::Result<PeerEvidence> {
    set_socket_passcred(socket, true)?;
    if pidfds == PidfdPolicy::Use && pass_pidfd(socket, true)? {
        return Ok(PeerEvidence::PidFd);
    }
    Ok(PeerEvidence::Credentials)
}

/// Ends what [`name_writers`] began.
pub(crate) fn forget_writers(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_socket_passcred(socket, false)?;
    pass_pidfd(socket, false)?;
    Ok(())
}

/// Makes the kernel note the sender of each datagram that `socket` receives from now on.
pub(super) fn name_senders(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(set_socket_passcred(socket, true)?)
}

/// Receives a datagram, and returns the number of its bytes, which are in `buf`, and its sender. Descriptors that came along are
/// closed.
pub(super) fn receive_named(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, PeerUser)> {
    let (received, note) = receive(socket, buf, RecvFlags::empty())?;
    let sender = note.credentials.map(|Credentials { pid, uid }| (pid, uid));
    let (pid, uid) = sender.unzip();
    Ok((received, PeerUser { pid: pid.filter(|pid| *pid != 0), uid }))
}

/// Sets whether pidfds are passed. Returns `false` if the kernel does not know the option.
fn pass_pidfd(socket: BorrowedFd<'_>, on: bool) -> io::Result<bool> {
    let on = c_int::from(on);
    // SAFETY: the option's value is `on`, of the size that is given, and lives longer than the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSPIDFD,
            ptr::from_ref(&on).cast(),
            size_of_u32::<c_int>(),
        )
    };
    match result {
        0 => Ok(true),
        _ => match last_errno() {
            Errno::NOPROTOOPT => Ok(false),
            error => Err(error.into()),
        },
    }
}

/// Receives bytes that one process has written, and returns that process; `None` with no bytes.
pub(crate) fn recv_named(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    flags: RecvFlags,
    pidfds: PidfdPolicy,
) -> Result<(usize, Option<Result<Peer, PeerError>>), Errno> {
    let (received, note) = receive(socket, buf, flags)?;
    Ok((received, (received > 0).then(|| writer(note, pidfds))))
}

fn writer(note: WriterNote, pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
    // The peer controls the other control data. If the buffer is too small, the kernel drops the pidfd before the
    // credentials, so accepting the rest would let the peer choose the weaker evidence.
    if note.truncated {
        let sent = "the writer sent descriptors along, which leave no room for its name";
        return Err(PeerError::Io(io::Error::new(io::ErrorKind::InvalidData, sent)));
    }
    let Some(credentials) = note.credentials else { return Err(PeerError::NotNoted) };
    let Credentials { pid, uid } = credentials;
    match note.pidfd.filter(|_| pidfds == PidfdPolicy::Use) {
        None if pid == 0 && uid == OVERFLOW_USER => Err(PeerError::NotNoted),
        _ if pid == 0 => Err(PeerError::OtherNamespace),
        Some(Ok(pidfd)) => {
            let process = ProcessHandle(imp::ProcessHandle::from_pidfd(pid, pidfd));
            Ok(Peer { process, evidence: PeerEvidence::PidFd, uid: Some(uid) })
        }
        Some(Err(error)) => Err(no_pidfd(pid, error)),
        None => by_credentials(|| Ok(credentials)),
    }
}

fn by_credentials(ask: impl Fn() -> Result<Credentials, PeerError>) -> Result<Peer, PeerError> {
    let (process, credentials) = open_named(ask, |credentials| credentials.pid)?;
    Ok(Peer { process, evidence: PeerEvidence::Credentials, uid: Some(credentials.uid) })
}

/// Returns the error for a pidfd that the kernel could not make for `pid`. Kernels differ in the error for a process
/// that has exited, and the newest make a pidfd for it.
fn no_pidfd(pid: u32, error: Errno) -> PeerError {
    match error {
        Errno::SRCH | Errno::INVAL => PeerError::Gone { pid },
        error => PeerError::Io(error.into()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Credentials {
    /// 0 for a process that has no number here.
    pid: u32,
    uid: u32,
}

impl From<libc::ucred> for Credentials {
    fn from(found: libc::ucred) -> Self {
        Self { pid: found.pid.cast_unsigned(), uid: found.uid }
    }
}

/// Returns the process and the user that made the connection accepted as `socket`.
pub(crate) fn user_of(socket: BorrowedFd<'_>) -> Result<PeerUser, PeerError> {
    let Credentials { pid, uid } = peer_credentials(socket)?;
    Ok(PeerUser { pid: Some(pid).filter(|pid| *pid != 0), uid: Some(uid) })
}

fn peer_credentials(socket: BorrowedFd<'_>) -> Result<Credentials, PeerError> {
    // SAFETY: the value of this option is a `ucred`, three integers.
    let found = unsafe { socket_option::<libc::ucred>(socket, libc::SO_PEERCRED) };
    found.map(Credentials::from).map_err(|error| PeerError::Io(error.into()))
}

fn peer_pidfd(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: the value of this option is a descriptor, an integer.
    let pidfd = unsafe { socket_option::<c_int>(socket, SO_PEERPIDFD) }?;
    // SAFETY: the kernel has just made this descriptor for this call, so it is open and no other code owns it. It is
    // not inherited: pidfds never are.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// # Safety
///
/// The value of the option `name` of the level `SOL_SOCKET` is a `T`, for which every bit pattern is valid.
unsafe fn socket_option<T>(socket: BorrowedFd<'_>, name: c_int) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut size = size_of_u32::<T>();
    // SAFETY: `value` is exclusively borrowed and `size` bytes long, and both live longer than the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, value.as_mut_ptr().cast(), &raw mut size)
    };
    if result != 0 {
        return Err(last_errno());
    }
    // SAFETY: zeros, overwritten in part or in full by the kernel, and the caller vouches for every bit pattern.
    Ok(unsafe { value.assume_init() })
}

/// The kernel's note of the writer of some bytes.
#[derive(Debug)]
struct WriterNote {
    credentials: Option<Credentials>,
    pidfd: Option<Result<OwnedFd, Errno>>,
    /// The buffer was too small for all control data.
    truncated: bool,
}

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

fn receive(socket: BorrowedFd<'_>, buf: &mut [u8], flags: RecvFlags) -> Result<(usize, WriterNote), Errno> {
    const { assert!(align_of::<libc::cmsghdr>() <= align_of::<Control>()) };
    let mut control = Control([0; CONTROL]);
    let mut bytes = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: a C struct of integers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // The type of the length depends on the C library.
    #[allow(clippy::cast_possible_truncation)]
    {
        message.msg_controllen = CONTROL as _;
    }
    let flags = flags.bits().cast_signed() | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` describes `buf` and `control`, both exclusively borrowed, by their true lengths; all of them live
    // longer than the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let received = usize::try_from(received).map_err(|_| last_errno())?;
    // SAFETY: the kernel has just filled `message`, and `control` is as it left it.
    let note = unsafe { parse_note(&message) };
    Ok((received, note))
}

/// # Safety
///
/// The kernel has filled `message` in a successful recvmsg(2), its control buffer is unchanged and aligned for `cmsghdr`,
/// and this is called once for it.
unsafe fn parse_note(message: &libc::msghdr) -> WriterNote {
    let truncated = message.msg_flags & libc::MSG_CTRUNC != 0;
    let mut note = WriterNote { credentials: None, pidfd: None, truncated };
    // SAFETY: the control buffer is a valid one.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: `next` points to a whole and aligned header in the control buffer.
        let header = unsafe { next.read() };
        // SAFETY: the function only calculates.
        let start = unsafe { libc::CMSG_LEN(0) };
        // The type of the length depends on the C library.
        #[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation)]
        let length = (header.cmsg_len as usize).saturating_sub(start as usize);
        // SAFETY: that many bytes of data follow the header in the control buffer, which is initialized and not changed
        // while this slice lives.
        let data = unsafe { slice::from_raw_parts(libc::CMSG_DATA(next), length) };
        let mut integers = data.as_chunks().0.iter().map(|integer| c_int::from_ne_bytes(*integer));
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                // The process, the user and the group, as in `libc::ucred`.
                if let (Some(pid), Some(uid)) = (integers.next(), integers.next()) {
                    let (pid, uid) = (pid.cast_unsigned(), uid.cast_unsigned());
                    note.credentials = Some(Credentials { pid, uid });
                }
            }
            (libc::SOL_SOCKET, SCM_PIDFD | libc::SCM_RIGHTS) => {
                for number in integers {
                    // A negative number is an error.
                    let descriptor = match number {
                        // SAFETY: the kernel has made this descriptor for this message, so it is open and no other code
                        // owns it.
                        0.. => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
                        error => Err(Errno::from_raw_os_error(error.saturating_neg())),
                    };
                    // Descriptors that the writer sent are closed here.
                    if header.cmsg_type == SCM_PIDFD {
                        note.pidfd = Some(descriptor);
                    }
                }
            }
            _ => {}
        }
        // SAFETY: `next` is a header of the valid control buffer.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    note
}

/// Returns the error of the C library's call that has just failed.
fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
