//! Descriptors of a new process.

#![allow(unsafe_code)]

use std::ffi::c_uint;
use std::os::fd::RawFd;

use super::child;

/// Closes every descriptor except `kept`.
///
/// # Safety
///
/// Nothing in this process uses one of them.
pub(super) unsafe fn close_all_but(kept: RawFd) {
    // SAFETY: the caller vouches for it.
    unsafe { close_from(0, Some(kept)) };
}

/// Closes every descriptor from `first` on, except `kept`.
///
/// # Safety
///
/// Nothing in this process uses one of them.
pub(super) unsafe fn close_from(first: RawFd, kept: Option<RawFd>) {
    let (first, last) = (first.cast_unsigned(), c_uint::MAX);
    match kept.map(i32::cast_unsigned) {
        Some(kept) => {
            if let Some(before) = kept.checked_sub(1).filter(|before| *before >= first) {
                // SAFETY: the caller vouches for it.
                unsafe { child::close_range(first, before) };
            }
            // SAFETY: the same.
            unsafe { child::close_range(kept + 1, last) };
        }
        // SAFETY: the same.
        None => unsafe { child::close_range(first, last) },
    }
}
