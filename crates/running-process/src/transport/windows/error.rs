//! Comparing errors of the system.

use std::io;

/// Returns whether `error` is the system's error `code`.
pub(super) fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
