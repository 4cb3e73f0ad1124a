//! A verified connection to a live daemon.

#[cfg(feature = "host")]
mod handle;

pub use super::backend_lifecycle::identity::DaemonProcess;
#[cfg(feature = "host")]
pub use handle::{BackendHandle, BackendHandleError};
