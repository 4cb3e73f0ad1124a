//! The descriptors that this process has open.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;

static NULL: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("every system has it"));

/// Returns a descriptor that stays open.
pub(crate) fn borrowed() -> BorrowedFd<'static> {
    NULL.as_fd()
}

/// Returns another descriptor.
pub(crate) fn opened() -> OwnedFd {
    NULL.try_clone().expect("few descriptors are open").into()
}

/// Returns the number of open descriptors.
pub(crate) fn open_descriptors() -> u64 {
    LazyLock::force(&NULL);
    // Linux has the number as the length since 6.2.
    match fs::metadata("/proc/self/fd").map_or(0, |descriptors| descriptors.len()) {
        0 => fs::read_dir("/dev/fd").expect("every system has it").count() as u64,
        count => count,
    }
}
