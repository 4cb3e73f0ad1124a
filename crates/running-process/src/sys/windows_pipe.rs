//! Named pipes with overlapped operations. No operation outlives its buffer.

#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Instant;

#[cfg(feature = "tokio")]
use std::os::windows::io::IntoRawHandle;
#[cfg(feature = "tokio")]
use tokio::net::windows::named_pipe::NamedPipeClient;
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_NO_DATA, ERROR_PIPE_CONNECTED, GENERIC_READ, GENERIC_WRITE,
    GetLastError, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_DUPLEX,
    ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, GetNamedPipeClientProcessId, GetNamedPipeServerProcessId,
    PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES, PIPE_WAIT,
    PeekNamedPipe,
};

use super::peer::{Peer, PeerError, PeerEvidence, PeerUser, open_named};
use super::windows_overlapped::{clip, unqueued};
use super::windows_security::CurrentUserOnly;
use super::windows_wait::{Event, wait_any};

/// Size hint for a pipe's buffers in bytes, each way.
const PIPE_BUFFER_BYTES: u32 = 64 * 1024;

/// A pipe's full path as the system takes it: UTF-16 with a NUL at the end and nowhere else.
#[derive(Debug, Clone)]
pub(crate) struct PipePath(Vec<u16>);

impl PipePath {
    /// Converts `path`; returns `None` if it contains a NUL.
    pub(crate) fn new(path: &str) -> Option<Self> {
        (!path.contains('\0')).then(|| Self(path.encode_utf16().chain([0]).collect()))
    }
}

/// The end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// That many bytes were transferred.
    Done(usize),
    /// The given event was set while nothing could be transferred.
    Interrupted,
    /// The deadline passed while nothing could be transferred.
    TimedOut,
}

/// Opens a pipe as its client. The server may identify this user but not act as the user.
pub(crate) fn open(path: &PipePath) -> io::Result<OwnedHandle> {
    // SAFETY: the path ends in NUL, and null stands for default attributes and for no template.
    let handle = unsafe {
        CreateFileW(
            path.0.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            0,
            ptr::null(),
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
            ptr::null_mut(),
        )
    };
    own(handle)
}

/// Hands a pipe that was opened for overlapped operation to tokio.
#[cfg(feature = "tokio")]
pub(crate) fn asynchronous(pipe: OwnedHandle) -> io::Result<NamedPipeClient> {
    // SAFETY: the handle is open, is a pipe's, was opened for overlapped operation, and its owner gives it away.
    unsafe { NamedPipeClient::from_raw_handle(pipe.into_raw_handle()) }
}

/// Returns the process that made this instance of the pipe.
pub(crate) fn server(pipe: BorrowedHandle<'_>) -> Result<Peer, PeerError> {
    let ask = || {
        let mut pid = 0;
        // SAFETY: the handle is open and `pid` is writable.
        match unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &raw mut pid) } {
            0 => Err(PeerError::Io(io::Error::last_os_error())),
            _ => Ok(pid),
        }
    };
    let (process, _) = open_named(ask, |pid| *pid)?;
    Ok(Peer { process, evidence: PeerEvidence::PipeServer, uid: None })
}

/// Returns the process that opened this instance of the pipe. Users have no numbers, and only this user may open it.
pub(crate) fn client(pipe: BorrowedHandle<'_>) -> Result<PeerUser, PeerError> {
    let mut pid = 0;
    // SAFETY: the handle is open and `pid` is writable.
    match unsafe { GetNamedPipeClientProcessId(pipe.as_raw_handle(), &raw mut pid) } {
        0 => Err(PeerError::Io(io::Error::last_os_error())),
        _ => Ok(PeerUser { pid: Some(pid), uid: None }),
    }
}

/// Reads into the start of `buf`, which is not empty. `event` serves this operation alone.
pub(crate) fn read(
    pipe: BorrowedHandle<'_>,
    buf: &mut [u8],
    event: &mut Event,
    interrupt: &Event,
    deadline: Option<Instant>,
) -> io::Result<Transfer> {
    let length = clip(buf.len());
    let start = |overlapped: *mut OVERLAPPED| {
        // SAFETY: `buf` is exclusively borrowed and at least `length` bytes long, and `transfer` returns only after
        // the operation has ended.
        unsafe { ReadFile(pipe.as_raw_handle(), buf.as_mut_ptr(), length, ptr::null_mut(), overlapped) }
    };
    // SAFETY: the closure starts one operation on `pipe`, whose buffer outlives this call.
    unsafe { transfer(pipe, event, Some(interrupt), deadline, start) }
}

/// Returns the number of bytes that have arrived and wait to be read.
pub(crate) fn arrived(pipe: BorrowedHandle<'_>) -> io::Result<usize> {
    let mut arrived = 0;
    // SAFETY: the handle is open and `arrived` is writable; null pointers stand for what is not asked for.
    let done = unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &raw mut arrived,
            ptr::null_mut(),
        )
    };
    if done == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(usize::try_from(arrived).unwrap_or(usize::MAX))
    }
}

/// Writes the start of `bytes`. `event` serves this operation alone.
pub(crate) fn write(
    pipe: BorrowedHandle<'_>,
    bytes: &[u8],
    event: &mut Event,
    deadline: Option<Instant>,
) -> io::Result<Transfer> {
    let length = clip(bytes.len());
    let start = |overlapped: *mut OVERLAPPED| {
        // SAFETY: `bytes` is borrowed and at least `length` bytes long, and `transfer` returns only after the
        // operation has ended.
        unsafe { WriteFile(pipe.as_raw_handle(), bytes.as_ptr(), length, ptr::null_mut(), overlapped) }
    };
    // SAFETY: the closure starts one operation on `pipe`, whose buffer outlives this call.
    unsafe { transfer(pipe, event, None, deadline, start) }
}

/// Runs one overlapped operation until it is done, or cancelled and reaped.
///
/// # Safety
///
/// `start` starts at most one operation, on `pipe` and with the given `OVERLAPPED`, and returns what the starting
/// call returned. Its buffer lives until this function returns.
unsafe fn transfer(
    pipe: BorrowedHandle<'_>,
    event: &mut Event,
    interrupt: Option<&Event>,
    deadline: Option<Instant>,
    start: impl FnOnce(*mut OVERLAPPED) -> i32,
) -> io::Result<Transfer> {
    // No other operation uses the event, and starting the operation clears it.
    let mut overlapped = OVERLAPPED { hEvent: unqueued(event), ..OVERLAPPED::default() };
    let overlapped = &raw mut overlapped;
    let mut woken = Ok(Some(0));
    if start(overlapped) == 0 {
        // SAFETY: the call takes nothing.
        let error = unsafe { GetLastError() };
        if error != ERROR_IO_PENDING && error != ERROR_MORE_DATA {
            return Err(io::Error::from_raw_os_error(error.cast_signed()));
        }
        // From here to the reaping below nothing may return or panic.
        woken = match interrupt {
            Some(interrupt) => wait_any(&[event.as_handle(), interrupt.as_handle()], deadline),
            None => wait_any(&[event.as_handle()], deadline),
        };
        if !matches!(woken, Ok(Some(0))) {
            // SAFETY: the pipe is open. If the operation has ended by now there is nothing to cancel, which is no
            // error.
            unsafe { CancelIoEx(pipe.as_raw_handle(), overlapped) };
        }
    }
    let mut transferred = 0;
    // SAFETY: `overlapped` is the one that the operation was started with; waiting for its end keeps it and the buffer
    // alive for as long as the system uses them.
    let done = unsafe { GetOverlappedResult(pipe.as_raw_handle(), overlapped, &raw mut transferred, 1) };
    // SAFETY: the call takes nothing.
    let error = unsafe { GetLastError() };
    // The operation may have ended before it could be cancelled.
    if done != 0 || error == ERROR_MORE_DATA {
        return Ok(Transfer::Done(transferred as usize));
    }
    match woken? {
        Some(0) => Err(io::Error::from_raw_os_error(error.cast_signed())),
        Some(_) => Ok(Transfer::Interrupted),
        None => Ok(Transfer::TimedOut),
    }
}

/// An instance of a pipe that waits for its client.
#[derive(Debug)]
pub(crate) struct Instance {
    pipe: Option<OwnedHandle>,
    event: Event,
    /// From `Box::into_raw`. The system may write to it until `ended`.
    overlapped: *mut OVERLAPPED,
    ended: bool,
}

// SAFETY: the pointer is owned by this value alone, and the system does not care which thread uses it.
unsafe impl Send for Instance {}

impl Instance {
    /// Makes an instance of the pipe and starts to wait for its client. Only this user may open it, and only from this
    /// machine. With `first`, making it fails if the pipe exists.
    pub(crate) fn listen(path: &PipePath, first: bool) -> io::Result<Self> {
        let access = CurrentUserOnly::new()?;
        let attributes = access.attributes();
        let first = if first { FILE_FLAG_FIRST_PIPE_INSTANCE } else { 0 };
        // SAFETY: the path ends in NUL; `attributes` and `access`, which it points to, outlive the call.
        let handle = unsafe {
            CreateNamedPipeW(
                path.0.as_ptr(),
                PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first,
                PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                PIPE_UNLIMITED_INSTANCES,
                PIPE_BUFFER_BYTES,
                PIPE_BUFFER_BYTES,
                0,
                &raw const attributes,
            )
        };
        let pipe = own(handle)?;
        let event = Event::new()?;
        let operation = OVERLAPPED { hEvent: unqueued(&event), ..OVERLAPPED::default() };
        let mut instance =
            Self { pipe: None, event, overlapped: Box::into_raw(Box::new(operation)), ended: false };
        // SAFETY: the pipe is open, and `overlapped` stays allocated until the operation has ended: see `drop`.
        if unsafe { ConnectNamedPipe(pipe.as_raw_handle(), instance.overlapped) } == 0 {
            // SAFETY: the call takes nothing.
            let error = unsafe { GetLastError() };
            instance.ended = error != ERROR_IO_PENDING;
            // A client may have connected already, and even be gone again: what it wrote can be read.
            if error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA {
                instance.event.set();
            } else if instance.ended {
                return Err(io::Error::from_raw_os_error(error.cast_signed()));
            }
        }
        instance.pipe = Some(pipe);
        Ok(instance)
    }

    /// Returns the connected pipe, once the instance is signaled.
    ///
    /// # Errors
    ///
    /// The error of the wait for a client, such as that it is gone already.
    pub(crate) fn finish(mut self) -> io::Result<OwnedHandle> {
        let Some(pipe) = self.pipe.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        if !self.ended {
            let mut transferred = 0;
            // SAFETY: `overlapped` is the one that the operation on this pipe was started with.
            let done = unsafe {
                GetOverlappedResult(pipe.as_raw_handle(), self.overlapped, &raw mut transferred, 1)
            };
            // The wait is over, so the operation has ended, successfully or not.
            self.ended = true;
            if done == 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(pipe)
    }
}

/// Signaled once a client has connected.
impl AsHandle for Instance {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.event.as_handle()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.as_ref().filter(|_| !self.ended) {
            let mut transferred = 0;
            // SAFETY: the pipe is open, and `overlapped` is the one that the operation on it was started with. After
            // the second call the operation has ended.
            unsafe {
                CancelIoEx(pipe.as_raw_handle(), self.overlapped);
                GetOverlappedResult(pipe.as_raw_handle(), self.overlapped, &raw mut transferred, 1);
            }
        }
        // SAFETY: from `Box::into_raw`, freed nowhere else, and no operation uses it any more.
        drop(unsafe { Box::from_raw(self.overlapped) });
    }
}

fn own(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open and no other code owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
