//! Parameters of overlapped operations.

use std::os::windows::io::{AsHandle, AsRawHandle};

use windows_sys::Win32::Foundation::HANDLE;

use super::windows_wait::Event;

/// Maximum number of bytes handed to one operation.
const MAX_TRANSFER: usize = 1 << 20;

/// Returns `length`, reduced to the maximum of one operation.
pub(super) fn clip(length: usize) -> u32 {
    u32::try_from(length.min(MAX_TRANSFER)).unwrap_or(u32::MAX)
}

/// Returns the event's handle with the low bit set. It keeps the operation out of a completion port that other code may
/// have bound the pipe to (`GetQueuedCompletionStatus`). Otherwise the system ignores the bit.
pub(super) fn unqueued(event: &Event) -> HANDLE {
    event.as_handle().as_raw_handle().map_addr(|address| address | 1)
}
