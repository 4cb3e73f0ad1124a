//! Sockets that launchd passes to this process.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The name of a service's socket in the dictionary `Sockets` of its property list.
pub(crate) const LAUNCHD_SOCKET: &CStr = c"socket";

unsafe extern "C" {
    /// `launch_activate_socket(3)`, in the system's library.
    fn launch_activate_socket(name: *const c_char, descriptors: *mut *mut c_int, count: *mut usize) -> c_int;
}

/// Returns the sockets that launchd passes under `name`. It passes each of them once.
///
/// # Errors
///
/// launchd has not started this process, has no socket of this name for it, or has passed it before.
pub(crate) fn launchd_sockets(name: &CStr) -> io::Result<Vec<OwnedFd>> {
    let (mut descriptors, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: the name ends with NUL, and both results have a place of their type.
    match unsafe { launch_activate_socket(name.as_ptr(), &raw mut descriptors, &raw mut count) } {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    let own = |index| {
        // SAFETY: the call has succeeded, so `descriptors` has `count` descriptors, which are this process's from now on.
        unsafe { OwnedFd::from_raw_fd(*descriptors.add(index)) }
    };
    let sockets = (0..count).map(own).collect();
    // SAFETY: the array was allocated by the call for its caller to free, and is not used any more.
    unsafe { libc::free(descriptors.cast::<c_void>()) };
    Ok(sockets)
}
