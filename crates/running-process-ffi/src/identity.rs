//! The identity of a daemon: from fields or from its encoded bytes.

use crate::boundary::{Bytes, Message, check_place, guard, put, store, value};
use crate::status::Status;
use running_process::broker::backend_lifecycle::identity::{
    BLAKE3_ALGORITHM, DaemonProcess, EXE_DIGEST_BYTES, INSTANCE_ID_BYTES, IdentityError, Origin,
};
use running_process::broker::protocol;
use std::ffi::c_char;

/// The identity of a daemon, which `rp_identity_free` frees.
#[derive(Debug)]
pub struct Identity(pub(crate) DaemonProcess);

/// The fields of an identity. Fill it with zeros and set what the daemon knows; texts are UTF-8 and not NUL-terminated.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IdentityFields {
    /// The process id, as the daemon itself sees it.
    pub pid: u32,
    /// The path of the executable.
    pub exe_path: Bytes,
    /// The SHA-256 of the executable, 32 bytes; null or zeros if it is not known. One digest is needed; peers of the first
    /// published generation read only this one.
    pub exe_sha256: *const u8,
    /// The BLAKE3 of the executable, 32 bytes; null or zeros if it is not known. Peers of the second published generation read
    /// only this one.
    pub exe_blake3: *const u8,
    /// The boot of the machine: on Linux the text of `/proc/sys/kernel/random/boot_id` without the line break.
    pub boot_id: Bytes,
    /// The namespace of the endpoint: any text.
    pub namespace_id: Bytes,
    /// The endpoint: the absolute path of the socket, or on Windows the bare name of the pipe.
    pub endpoint_path: Bytes,
    /// The time at which the identity was made, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// 1 if `idle_timeout_secs` counts, else 0.
    pub has_idle_timeout: u8,
    /// Seconds without work after which the daemon ends.
    pub idle_timeout_secs: u32,
    /// A random id of this run, 16 bytes; null if there is none. With it `start_time` counts, and both make the proof stronger.
    pub instance_id: *const u8,
    /// The time at which the kernel started the process: on Linux `starttime` of `proc_pid_stat(5)`.
    pub start_time: u64,
    /// 1 if `pid_namespace` counts, else 0.
    pub has_pid_namespace: u8,
    /// On Linux the inode of `/proc/self/ns/pid`.
    pub pid_namespace: u64,
    /// 1 if another process made the listening socket, else 0.
    pub inherited_listener: u8,
    /// The version of the daemon, at most 128 bytes; may be empty.
    pub version: Bytes,
    /// The build of that version, at most 128 bytes; may be empty.
    pub build: Bytes,
}

impl IdentityFields {
    /// Returns the identity with these fields.
    ///
    /// # Safety
    ///
    /// Its pointers are those of readable bytes.
    unsafe fn identity(&self) -> Result<Result<DaemonProcess, IdentityError>, Status> {
        // SAFETY: the caller's promise, for all of them.
        unsafe {
            let sha256 = array::<EXE_DIGEST_BYTES>(self.exe_sha256);
            let blake3 = array::<EXE_DIGEST_BYTES>(self.exe_blake3);
            let endpoint = protocol::Endpoint {
                namespace_id: self.namespace_id.text()?.to_owned(),
                path: self.endpoint_path.text()?.to_owned(),
            };
            if endpoint.path.is_empty() {
                return Err(Status::InvalidArgument);
            }
            let message = protocol::DaemonProcess {
                pid: self.pid,
                exe_path: self.exe_path.text()?.to_owned(),
                exe_sha256: sha256.map_or_else(Vec::new, Vec::from),
                ipc_endpoint: Some(endpoint),
                started_at_unix_ms: self.started_at_unix_ms,
                boot_id: self.boot_id.text()?.to_owned(),
                idle_timeout_secs: (self.has_idle_timeout != 0).then_some(self.idle_timeout_secs),
                exe_hash_algorithm: blake3.map_or_else(String::new, |_| BLAKE3_ALGORITHM.to_owned()),
                exe_hash: blake3.map_or_else(Vec::new, Vec::from),
            };
            let origin = array::<INSTANCE_ID_BYTES>(self.instance_id).map(|instance_id| Origin {
                start_time: self.start_time,
                instance_id,
                pid_namespace: (self.has_pid_namespace != 0).then_some(self.pid_namespace),
                inherited_listener: self.inherited_listener != 0,
            });
            let (version, build) = (self.version.text()?, self.build.text()?);
            Ok(DaemonProcess::try_from(message).and_then(|mut identity| {
                identity.origin = origin;
                identity.with_version(version)?.with_build(build)
            }))
        }
    }
}

/// Returns the array at `data`, or `None` for null.
///
/// # Safety
///
/// `data` is null or points to `N` readable bytes.
unsafe fn array<const N: usize>(data: *const u8) -> Option<[u8; N]> {
    // SAFETY: bytes need no alignment; the rest is the caller's promise.
    unsafe { data.cast::<[u8; N]>().as_ref() }.copied()
}

/// Makes an identity of fields, and stores it. If that fails, `message` gets the reason as NUL-terminated text, cut to
/// `message_capacity` bytes; it may be null.
///
/// # Safety
///
/// `fields` points to fields whose pointers are null or those of readable bytes, `identity` to memory that may be written, and
/// `message` to `message_capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_identity_new(
    fields: *const IdentityFields,
    identity: *mut *mut Identity,
    message: *mut c_char,
    message_capacity: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let made = unsafe { value(fields)?.identity() }?;
        // SAFETY: the caller's promise.
        unsafe { give(made, identity, Message { text: message, capacity: message_capacity }) }
    })
}

/// Decodes an identity from the bytes that a probe is answered with, behind the nonce, and stores it. The message is as that of
/// `rp_identity_new`.
///
/// # Safety
///
/// `data` points to `length` readable bytes; the rest as `rp_identity_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_identity_decode(
    data: *const u8,
    length: usize,
    identity: *mut *mut Identity,
    message: *mut c_char,
    message_capacity: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let data = unsafe { Bytes { data, length }.borrow() }?;
        // SAFETY: the caller's promise.
        unsafe {
            give(DaemonProcess::decode(data), identity, Message { text: message, capacity: message_capacity })
        }
    })
}

/// Gives an identity to the caller, or the reason why there is none.
///
/// # Safety
///
/// `place` is null or may be written to; `message` as in [`Message::fail`].
pub(crate) unsafe fn give(
    identity: Result<DaemonProcess, IdentityError>,
    place: *mut *mut Identity,
    message: Message,
) -> Result<(), Status> {
    check_place(place)?;
    match identity {
        // SAFETY: the caller's promise.
        Ok(identity) => unsafe { store(place, Box::into_raw(Box::new(Identity(identity)))) },
        // SAFETY: the caller's promise.
        Err(error) => Err(unsafe { message.fail(status_of(&error), &error) }),
    }
}

fn status_of(error: &IdentityError) -> Status {
    match error {
        IdentityError::Executable(_)
        | IdentityError::Fronted(_)
        | IdentityError::BootId(_)
        | IdentityError::InstanceId(_)
        | IdentityError::ClockBeforeEpoch => Status::System,
        _ => Status::Identity,
    }
}

/// Writes an identity as probes are answered with it, and stores its length.
///
/// # Safety
///
/// `identity` is one of this library, `out` points to `capacity` writable bytes and may be null if `capacity` is 0, and `length`
/// points to memory that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_identity_encode(
    identity: *const Identity,
    out: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let encoded = unsafe { value(identity) }?.0.encode();
        // SAFETY: the caller's promise.
        unsafe { put(&[&encoded], out, capacity, length) }
    })
}

/// Frees an identity; null is ignored.
///
/// # Safety
///
/// `identity` is null or one of this library that was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_identity_free(identity: *mut Identity) {
    let _no_panic = guard(|| {
        if !identity.is_null() {
            // SAFETY: made by `Box::into_raw` and not freed, by the caller's promise.
            drop(unsafe { Box::from_raw(identity) });
        }
        Ok(())
    });
}
