//! A verified connection to a live daemon.

pub use super::backend_lifecycle::identity::DaemonProcess;
