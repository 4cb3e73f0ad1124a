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
