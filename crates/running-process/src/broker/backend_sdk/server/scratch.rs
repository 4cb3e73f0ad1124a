//! The read buffer of a thread, which all its connections share.

use std::cell::RefCell;

/// Bytes that are read from a connection at once.
pub(crate) const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Calls `read` with the scratch memory of this thread, of [`READ_BYTES`].
///
/// # Panics
///
/// `read` calls this again.
pub(crate) fn with<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    #[cfg(all(test, shuttle))]
    return read(&mut [0; 30]);
    #[cfg(not(all(test, shuttle)))]
    SCRATCH.with_borrow_mut(|scratch| read(scratch))
}
