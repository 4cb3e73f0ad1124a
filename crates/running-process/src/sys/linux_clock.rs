//! The clocks of Linux, through the C library. It reads them without a system call; rustix would first ask the kernel
//! where that is possible.

#![allow(unsafe_code)]

/// Returns the wall clock in nanoseconds since the Unix epoch. An administrator can set it.
pub(crate) fn wall_clock() -> Option<i64> {
    read(libc::CLOCK_REALTIME)
}

/// Returns the time since boot in nanoseconds, sleep included. It cannot be set, but differs between time namespaces.
pub(crate) fn time_since_boot() -> Option<i64> {
    read(libc::CLOCK_BOOTTIME)
}

fn read(clock: libc::clockid_t) -> Option<i64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec` to where one is.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    #[allow(clippy::useless_conversion, reason = "a shorter type on some machines")]
    let (seconds, nanoseconds) = (i64::from(time.tv_sec), i64::from(time.tv_nsec));
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}
