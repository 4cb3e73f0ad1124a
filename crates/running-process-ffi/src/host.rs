//! The functions that ask the operating system: the identity of this process, and its identity file.

use crate::boundary::{Bytes, Message, guard, value};
use crate::identity::{Identity, give};
use crate::status::Status;
use running_process::DaemonProcess;
use running_process::broker::backend_sdk::{try_remove_daemon_identity_file, write_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use std::ffi::{CStr, c_char};
use std::io;
use std::path::Path;

/// Makes the identity of this process, which listens at `endpoint_path`, and stores it: process, executable and its digests, boot,
/// start time, instance. It reads the executable, so a daemon calls it once, before it serves. `idle_timeout_secs` is null if the
/// daemon does not end by itself. The message is as that of `rp_identity_new`.
///
/// # Safety
///
/// The bytes are readable and UTF-8, `idle_timeout_secs` is null or points to a number, `identity` points to memory that may be
/// written, and `message` to `message_capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_identity_observe(
    namespace_id: Bytes,
    endpoint_path: Bytes,
    idle_timeout_secs: *const u32,
    identity: *mut *mut Identity,
    message: *mut c_char,
    message_capacity: usize,
) -> Status {
    guard(|| {
        let message = Message { text: message, capacity: message_capacity };
        // SAFETY: the caller's promise.
        let (namespace_id, path) = unsafe { (namespace_id.text()?, endpoint_path.text()?) };
        let idle_timeout_secs = match unsafe {
            // SAFETY: the caller's promise.
            value(idle_timeout_secs)
        } {
            Ok(seconds) => Some(*seconds),
            Err(Status::NullPointer) => None,
            Err(status) => return Err(status),
        };
        let endpoint = if cfg!(windows) {
            Endpoint::windows_pipe(namespace_id, path)
        } else {
            Endpoint::unix_socket(namespace_id, path)
        }
        // SAFETY: the caller's promise.
        .map_err(|error| unsafe { message.fail(Status::InvalidArgument, &error) })?;
        // SAFETY: the caller's promise.
        unsafe { give(DaemonProcess::current_process(endpoint, idle_timeout_secs), identity, message) }
    })
}

/// Writes the identity file of a daemon, by which clients find it, readable by this user alone. It replaces neither a file that is
/// no identity file of this user nor one of a daemon that runs at another endpoint. `path` is NUL-terminated, on Unix any bytes. The
/// message is as that of `rp_identity_new`.
///
/// # Safety
///
/// `path` is NUL-terminated, `identity` one of this library, and `message` points to `message_capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_identity_file_write(
    path: *const c_char,
    identity: *const Identity,
    message: *mut c_char,
    message_capacity: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (path, identity) = unsafe { (file_path(path)?, value(identity)?) };
        // SAFETY: the caller's promise.
        unsafe {
            report(
                write_daemon_identity_file(path, &identity.0),
                Message { text: message, capacity: message_capacity },
            )
        }
    })
}

/// Removes the identity file at `path`, if there is one of this user. The message is as that of `rp_identity_new`.
///
/// # Safety
///
/// `path` is NUL-terminated, and `message` points to `message_capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_identity_file_remove(
    path: *const c_char,
    message: *mut c_char,
    message_capacity: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let path = unsafe { file_path(path) }?;
        // SAFETY: the caller's promise.
        unsafe {
            report(
                try_remove_daemon_identity_file(path),
                Message { text: message, capacity: message_capacity },
            )
        }
    })
}

/// Borrows a path.
///
/// # Safety
///
/// `path` is null or NUL-terminated.
unsafe fn file_path<'a>(path: *const c_char) -> Result<&'a Path, Status> {
    if path.is_null() {
        return Err(Status::NullPointer);
    }
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    #[cfg(unix)]
    return Ok(Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path.to_bytes())));
    #[cfg(not(unix))]
    return path.to_str().map(Path::new).map_err(|_| Status::NotUtf8);
}

/// Returns the outcome of a system call with the text of its failure.
///
/// # Safety
///
/// As [`Message::fail`].
unsafe fn report(outcome: io::Result<()>, message: Message) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    outcome.map_err(|error| unsafe { message.fail(Status::System, &error) })
}
