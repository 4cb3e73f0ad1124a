//! A verified connection to a live daemon.

#[cfg(feature = "host")]
mod handle;

pub use super::backend_lifecycle::identity::DaemonProcess;
#[cfg(feature = "host")]
pub(in crate::broker) use handle::KILL_TIMEOUT;
#[cfg(feature = "host")]
pub use handle::{BackendHandle, BackendHandleError};
