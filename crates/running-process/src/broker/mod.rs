//! The broker's parts. [`protocol`] stands alone, [`backend_lifecycle`] builds on it, [`backend_sdk`] on both, and
//! [`backend_handle`] on all of them; `service` finds, starts and
//! stops a daemon with them.

pub mod backend_handle;
pub mod backend_lifecycle;
pub mod backend_sdk;
#[cfg(feature = "host")]
pub mod local_sockets;
pub mod protocol;
#[cfg(feature = "tokio")]
mod runtime_clock;
#[cfg(feature = "host")]
pub mod service;
