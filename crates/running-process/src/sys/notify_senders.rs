//! Senders of datagrams, on FreeBSD. Other systems do not tell them.

#[cfg(target_os = "freebsd")]
pub(super) use freebsd::{name_senders, receive_named};
#[cfg(not(target_os = "freebsd"))]
pub(super) use unnamed::{name_senders, receive_named};

#[cfg(not(target_os = "freebsd"))]
mod unnamed {
    use std::io;
    use std::os::fd::BorrowedFd;

    use rustix::net::RecvFlags;

    use crate::sys::peer::PeerUser;

    // Other systems have errors here.
    #[allow(clippy::unnecessary_wraps)]
    pub(in crate::sys) fn name_senders(_socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::sys) fn receive_named(
        socket: BorrowedFd<'_>,
        buf: &mut [u8],
    ) -> io::Result<(usize, PeerUser)> {
        // Without room for control data the system closes the descriptors that came along.
        let (received, _) = rustix::net::recv(socket, buf, RecvFlags::empty())?;
        Ok((received, PeerUser { pid: None, uid: None }))
    }
}

#[cfg(target_os = "freebsd")]
mod freebsd {
    #![allow(unsafe_code)]

    use std::ffi::c_int;
    use std::io;
    use std::mem;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::ptr;

    use crate::sys::peer::PeerUser;

    /// Bytes for control data: the sender with its groups, and descriptors.
    const CONTROL: usize = 4096;

    #[repr(C, align(8))]
    struct Control([u8; CONTROL]);

    /// Makes the kernel note the sender of each datagram that `socket` receives from now on.
    pub(in crate::sys) fn name_senders(socket: BorrowedFd<'_>) -> io::Result<()> {
        let on: c_int = 1;
        let size = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
        // SAFETY: the option's value is `on`, of the size that is given, and lives longer than the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_LOCAL,
                libc::LOCAL_CREDS_PERSISTENT,
                ptr::from_ref(&on).cast(),
                size,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Receives a datagram, and returns the number of its bytes, which are in `buf`, and its sender. Descriptors that came along
    /// are closed.
    pub(in crate::sys) fn receive_named(
        socket: BorrowedFd<'_>,
        buf: &mut [u8],
    ) -> io::Result<(usize, PeerUser)> {
        const { assert!(align_of::<libc::cmsghdr>() <= align_of::<Control>()) };
        let mut control = Control([0; CONTROL]);
        let mut bytes = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        // SAFETY: a C struct of integers and pointers, for which zeros are valid.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut bytes;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::socklen_t::try_from(CONTROL).unwrap_or_default();
        // SAFETY: `message` describes `buf` and `control`, both exclusively borrowed, by their true lengths; all of them live
        // longer than the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let mut sender = PeerUser { pid: None, uid: None };
        // SAFETY: the kernel has just filled the control buffer.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        while !next.is_null() {
            // SAFETY: `next` points to a whole and aligned header in the control buffer.
            let header = unsafe { next.read() };
            // SAFETY: the function only calculates.
            let (data, start) = unsafe { (libc::CMSG_DATA(next), libc::CMSG_LEN(0)) };
            let length = (header.cmsg_len as usize).saturating_sub(start as usize);
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDS2) if length >= size_of::<libc::sockcred2>() => {
                    // SAFETY: such a structure of integers follows the header, perhaps not aligned.
                    let found = unsafe { data.cast::<libc::sockcred2>().read_unaligned() };
                    let pid = u32::try_from(found.sc_pid).ok().filter(|pid| *pid != 0);
                    sender = PeerUser { pid, uid: Some(found.sc_uid) };
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..length / size_of::<c_int>() {
                        // SAFETY: that many integers follow the header.
                        let number =
                            unsafe { data.add(index * size_of::<c_int>()).cast::<c_int>().read_unaligned() };
                        // SAFETY: the kernel has made this descriptor for this message, so it is open and no other code owns it.
                        drop(unsafe { OwnedFd::from_raw_fd(number) });
                    }
                }
                _ => {}
            }
            // SAFETY: `next` is a header of the valid control buffer.
            next = unsafe { libc::CMSG_NXTHDR(&raw const message, next) };
        }
        Ok((received, sender))
    }
}
