//! Signals of the starting thread.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;

/// Calls `start` while all signals are blocked, so that no handler of this process runs in a new one.
pub(super) fn with_all_blocked<T>(start: impl FnOnce() -> T) -> T {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the first call initializes the set that the second reads, and `before` is exclusively borrowed.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
    }
    let started = start();
    // SAFETY: the call above has initialized the set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    started
}
