//! The descriptors that a frame carries.

/// A descriptor of another process or for one.
#[cfg(unix)]
pub(crate) type Descriptor = std::os::fd::OwnedFd;

/// A descriptor, of which there are none on this system.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) enum Descriptor {}

/// True if descriptors are passed on this system.
#[cfg(feature = "host")]
pub(crate) const PASSES_DESCRIPTORS: bool = cfg!(unix);

/// Returns whether `error` is that of a user who has more descriptors on their way than one process may have open. The system sends none
/// then, and no byte (`ETOOMANYREFS` in unix(7)).
#[cfg(feature = "host")]
#[cold]
pub(crate) fn are_too_many(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    return rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::TOOMANYREFS);
    #[cfg(not(unix))]
    return {
        _ = error;
        false
    };
}
