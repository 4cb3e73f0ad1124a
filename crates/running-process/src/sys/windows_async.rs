//! Waiting in a task for handles and overlapped operations, on the system's own thread pool.
//!
//! The pipe is not bound to a completion port, so tasks of any runtime and threads can use it, one after the other.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr;
use std::time::Instant;

use tokio::sync::oneshot;
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, GetLastError, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD, WT_EXECUTEONLYONCE,
};

use super::windows_overlapped::{clip, unqueued};
use super::windows_wait::{Event, wait_any};

/// Waits until `handle` is signaled. It must stay signaled.
pub(crate) async fn signaled(handle: BorrowedHandle<'_>) -> io::Result<()> {
    if wait_any(&[handle], Some(Instant::now()))?.is_some() {
        return Ok(());
    }
    let mut wait = Wait::register(handle.try_clone_to_owned()?)?;
    // The sender is dropped with the wait, not before.
    (&mut wait.signaled).await.map_err(io::Error::other)
}

type Signal = Option<oneshot::Sender<()>>;

/// A wait of the system's thread pool.
struct Wait {
    registration: HANDLE,
    signaled: oneshot::Receiver<()>,
    /// From `Box::into_raw`. The system owns it until the wait has been cancelled.
    signal: *mut Signal,
    /// Stays open while the system waits for it, also after this value is dropped.
    _handle: OwnedHandle,
}

// SAFETY: the pointer is owned by this value alone, and the system does not care which thread uses the wait.
unsafe impl Send for Wait {}

impl Wait {
    fn register(handle: OwnedHandle) -> io::Result<Self> {
        let (sender, signaled) = oneshot::channel();
        let signal = Box::into_raw(Box::new(Some(sender)));
        let mut registration = ptr::null_mut();
        // SAFETY: the handle stays open and `signal` valid until the wait has been taken back; `signal` is what the
        // callback expects, which runs once at most.
        let done = unsafe {
            RegisterWaitForSingleObject(
                &raw mut registration,
                handle.as_raw_handle(),
                Some(send),
                signal.cast(),
                INFINITE,
                WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE,
            )
        };
        if done == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: no wait was made, so no other code has the pointer.
            drop(unsafe { Box::from_raw(signal) });
            return Err(error);
        }
        Ok(Self { registration, signaled, signal, _handle: handle })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: the wait is taken back once, here. The call returns after a callback that runs by now has ended.
        unsafe { UnregisterWaitEx(self.registration, INVALID_HANDLE_VALUE) };
        // SAFETY: the callback does not run any more, so no other code has the pointer.
        drop(unsafe { Box::from_raw(self.signal) });
    }
}

/// # Safety
///
/// `signal` points to a `Signal` that no other code uses.
unsafe extern "system" fn send(signal: *mut c_void, _timed_out: bool) {
    // SAFETY: the caller vouches for it.
    let signal = unsafe { &mut *signal.cast::<Signal>() };
    if let Some(signal) = signal.take() {
        // This fails only if no task waits any more.
        let _ = signal.send(());
    }
}

/// Reads at most `length` bytes, which is not zero.
pub(crate) async fn read(pipe: BorrowedHandle<'_>, length: usize) -> io::Result<Vec<u8>> {
    let start = |pipe, buffer, length, overlapped| {
        // SAFETY: the buffer is `length` bytes long and, as `overlapped`, the operation's own until it has ended.
        unsafe { ReadFile(pipe, buffer, length, ptr::null_mut(), overlapped) }
    };
    // SAFETY: the closure starts one operation, as it should.
    unsafe { Operation::start(pipe, vec![0; clip(length) as usize], start) }?.end().await
}

/// Writes the start of `bytes`, and returns its length.
pub(crate) async fn write(pipe: BorrowedHandle<'_>, bytes: &[u8]) -> io::Result<usize> {
    let start = |pipe, buffer: *mut u8, length, overlapped| {
        // SAFETY: the buffer is `length` bytes long and, as `overlapped`, the operation's own until it has ended.
        unsafe { WriteFile(pipe, buffer, length, ptr::null_mut(), overlapped) }
    };
    let buffer = bytes[..clip(bytes.len()) as usize].to_vec();
    // SAFETY: the closure starts one operation, as it should.
    Ok(unsafe { Operation::start(pipe, buffer, start) }?.end().await?.len())
}

/// An overlapped operation. If it is dropped before its end, it is cancelled and reaped.
struct Operation<'p> {
    pipe: BorrowedHandle<'p>,
    event: Event,
    /// From `Box::into_raw`. The system owns it while the operation is pending.
    memory: *mut Memory,
    pending: bool,
}

struct Memory {
    overlapped: OVERLAPPED,
    buffer: Vec<u8>,
}

// SAFETY: the pointer is owned by this value alone, and the system does not care which thread uses the operation.
unsafe impl Send for Operation<'_> {}

impl<'p> Operation<'p> {
    /// # Safety
    ///
    /// `start` starts at most one operation, with exactly the pipe, the buffer, its length and the `OVERLAPPED` that it is
    /// given, and returns what the starting call returned.
    unsafe fn start(
        pipe: BorrowedHandle<'p>,
        buffer: Vec<u8>,
        start: impl FnOnce(HANDLE, *mut u8, u32, *mut OVERLAPPED) -> i32,
    ) -> io::Result<Self> {
        let event = Event::new()?;
        let overlapped = OVERLAPPED { hEvent: unqueued(&event), ..OVERLAPPED::default() };
        let mut memory = Box::new(Memory { overlapped, buffer });
        let (buffer, length) = (memory.buffer.as_mut_ptr(), clip(memory.buffer.len()));
        let memory = Box::into_raw(memory);
        let mut operation = Self { pipe, event, memory, pending: true };
        // SAFETY: the memory is valid, and nothing refers to it.
        let overlapped = unsafe { &raw mut (*memory).overlapped };
        if start(pipe.as_raw_handle(), buffer, length, overlapped) == 0 {
            // SAFETY: the call takes nothing.
            let error = unsafe { GetLastError() };
            if error != ERROR_IO_PENDING && error != ERROR_MORE_DATA {
                operation.pending = false;
                return Err(io::Error::from_raw_os_error(error.cast_signed()));
            }
        }
        Ok(operation)
    }

    /// Returns the bytes that were transferred.
    async fn end(mut self) -> io::Result<Vec<u8>> {
        signaled(self.event.as_handle()).await?;
        let transferred = self.reap()?;
        // SAFETY: the operation has ended, so the memory is this value's alone.
        let mut buffer = std::mem::take(unsafe { &mut (*self.memory).buffer });
        buffer.truncate(transferred);
        Ok(buffer)
    }

    /// Waits for the end of the operation, which is due now.
    fn reap(&mut self) -> io::Result<usize> {
        let mut transferred = 0;
        // SAFETY: the operation was started with this memory, which is valid.
        let done = unsafe {
            let overlapped = &raw const (*self.memory).overlapped;
            GetOverlappedResult(self.pipe.as_raw_handle(), overlapped, &raw mut transferred, 1)
        };
        // SAFETY: the call takes nothing.
        let error = unsafe { GetLastError() };
        self.pending = false;
        if done != 0 || error == ERROR_MORE_DATA {
            Ok(transferred as usize)
        } else {
            Err(io::Error::from_raw_os_error(error.cast_signed()))
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.pending {
            // SAFETY: the pipe is open and the memory valid. If the operation has ended by now there is nothing to cancel,
            // which is no error.
            unsafe { CancelIoEx(self.pipe.as_raw_handle(), &raw const (*self.memory).overlapped) };
            // The result does not matter.
            let _ = self.reap();
        }
        // SAFETY: the operation has ended, so the memory is this value's alone.
        drop(unsafe { Box::from_raw(self.memory) });
    }
}
