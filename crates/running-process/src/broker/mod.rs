//! The broker's parts. [`protocol`] stands alone, [`backend_lifecycle`] builds on it, [`backend_sdk`] on both, and
//! [`backend_handle`] on all of them.

pub mod backend_handle;
pub mod backend_lifecycle;
pub mod backend_sdk;
pub mod protocol;
#[cfg(feature = "tokio")]
mod runtime_clock;
