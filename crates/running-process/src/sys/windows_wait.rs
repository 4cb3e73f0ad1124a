//! Events, and waiting for handles up to a deadline.

#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED};
use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent, WaitForMultipleObjects};

/// The most handles that the system waits for in one call (`MAXIMUM_WAIT_OBJECTS` in `winnt.h`).
pub(crate) const MAX_HANDLES: usize = 64;
/// No timeout (`INFINITE` in `winbase.h`).
const FOREVER: u32 = u32::MAX;
/// Longest single wait handed to the system.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// A manual-reset event: once set it stays set.
#[derive(Debug)]
pub(crate) struct Event(OwnedHandle);

impl Event {
    /// Returns an event that is not set and that children do not inherit.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: null stands for default attributes and for no name.
        let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is open and no other code owns it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Sets the event. Doing it again does nothing.
    pub(crate) fn set(&self) {
        // SAFETY: the handle is open. Setting an event of one's own does not fail.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }
}

impl AsHandle for Event {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Waits until one of `handles` (1 to [`MAX_HANDLES`]) is signaled, and returns the index of the first that is, or
/// until `deadline`. Being signaled wins: with a deadline in the past this is a check that does not block.
pub(crate) fn wait_any(
    handles: &[BorrowedHandle<'_>],
    deadline: Option<Instant>,
) -> io::Result<Option<usize>> {
    assert!((1..=MAX_HANDLES).contains(&handles.len()), "{} handles to wait for", handles.len());
    let mut raw: [HANDLE; MAX_HANDLES] = [ptr::null_mut(); MAX_HANDLES];
    for (raw, handle) in raw.iter_mut().zip(handles) {
        *raw = handle.as_raw_handle();
    }
    let count = u32::try_from(handles.len()).unwrap_or(0);
    loop {
        let millis = deadline.map_or(FOREVER, |at| {
            let left = at.saturating_duration_since(Instant::now()).min(LONGEST_WAIT);
            // Rounded up, so that the last part of a millisecond is not spent in a loop.
            u32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(FOREVER - 1)
        });
        // SAFETY: `raw` starts with `count` handles, all of them borrowed and so open for as long as this call.
        let result = unsafe { WaitForMultipleObjects(count, raw.as_ptr(), 0, millis) };
        match result {
            index if index < count => return Ok(Some(index as usize)),
            WAIT_FAILED => return Err(io::Error::last_os_error()),
            _ if deadline.is_some_and(|at| at <= Instant::now()) => return Ok(None),
            _ => {}
        }
    }
}
