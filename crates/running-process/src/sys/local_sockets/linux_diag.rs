//! The list of sockets from `NETLINK_SOCK_DIAG` (`sock_diag(7)`, `netlink(7)`; `linux/unix_diag.h`).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::super::types::{AcceptQueue, BoundFile, ListeningSocket, SocketName, unowned};

/// Time within which the kernel answers. It answers in the call that asks; a sandbox may not answer at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Size of the buffer in bytes: the kernel sends at most 32 KiB at once.
const BUFFER_BYTES: usize = 64 * 1024;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;
const AF_UNIX: u8 = 1;
/// The state `TCP_LISTEN`, as a bit.
const LISTENING: u32 = 1 << 10;
/// `UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID`. A kernel without the last one (before 5.3)
/// ignores it.
const SHOW: u32 = 0x01 | 0x02 | 0x10 | 0x40;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_VFS: u16 = 1;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_UID: u16 = 7;

pub(super) fn listening_sockets() -> io::Result<Vec<ListeningSocket>> {
    let kernel = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    set_socket_timeout(&kernel, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    retry_on_intr(|| sendto(&kernel, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0)))?;
    let mut sockets = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (_, length) = retry_on_intr(|| recv(&kernel, &mut buffer[..], RecvFlags::TRUNC))?;
        let messages = buffer.get(..length).filter(|messages| !messages.is_empty()).ok_or_else(malformed)?;
        if append(messages, &mut sockets)? {
            return Ok(sockets);
        }
    }
}

/// Returns a request for all Unix-domain sockets that listen: a `nlmsghdr` and a `unix_diag_req`.
fn request() -> Vec<u8> {
    const LENGTH: u32 = 16 + 24;
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    // Sequence and port.
    request.extend([0; 8]);
    // Family, protocol and padding.
    request.extend([AF_UNIX, 0, 0, 0]);
    request.extend(LISTENING.to_ne_bytes());
    // No single inode.
    request.extend(0_u32.to_ne_bytes());
    request.extend(SHOW.to_ne_bytes());
    // No cookie.
    request.extend([0; 8]);
    request
}

/// Appends the sockets in `messages`. Returns whether the last of them has arrived.
pub(super) fn append(messages: &[u8], sockets: &mut Vec<ListeningSocket>) -> io::Result<bool> {
    let mut rest = messages;
    while !rest.is_empty() {
        let length = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()).ok_or_else(malformed)?;
        let kind = u16_at(rest, 4).ok_or_else(malformed)?;
        let body = rest.get(16..length).ok_or_else(malformed)?;
        match kind {
            SOCK_DIAG_BY_FAMILY => sockets.push(listening_socket(body).ok_or_else(malformed)?),
            NLMSG_DONE | NLMSG_ERROR => {
                return match u32_at(body, 0).ok_or_else(malformed)?.cast_signed() {
                    0 => Ok(true),
                    error => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
                };
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Returns the socket of a `unix_diag_msg` and its attributes.
fn listening_socket(body: &[u8]) -> Option<ListeningSocket> {
    let inode = u32_at(body, 4)?;
    let (mut name, mut uid, mut queue, mut file) = (SocketName::Unnamed, None, None, None);
    let mut rest = body.get(16..)?;
    while !rest.is_empty() {
        let length = usize::from(u16_at(rest, 0)?);
        let attribute = rest.get(4..length)?;
        match u16_at(rest, 2)? {
            UNIX_DIAG_NAME => name = socket_name(attribute),
            UNIX_DIAG_VFS => {
                let (inode, device) = (u32_at(attribute, 0)?, u32_at(attribute, 4)?);
                // The kernel's own form of a device: twelve bits and twenty.
                let device = rustix::fs::makedev(device >> 20, device & 0xF_FFFF);
                file = Some(BoundFile { device, inode });
            }
            UNIX_DIAG_RQLEN => {
                queue = Some(AcceptQueue { waiting: u32_at(attribute, 0)?, limit: u32_at(attribute, 4)? });
            }
            UNIX_DIAG_UID => uid = Some(u32_at(attribute, 0)?),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(unowned(name, inode.into(), uid, queue, file))
}

/// Returns the name from the content of `sun_path`. A path ends before its NUL.
fn socket_name(name: &[u8]) -> SocketName {
    match name {
        [] => SocketName::Unnamed,
        [0, name @ ..] => SocketName::Abstract(name.to_vec()),
        path => {
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            SocketName::Path(OsStr::from_bytes(path).into())
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's list of sockets has another form")
}
