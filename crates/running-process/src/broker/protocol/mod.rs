//! The v1 wire: frames, their codec, the registry of payload protocols and endpoint names.

#[allow(clippy::pedantic, missing_docs, unreachable_pub)]
mod generated;

pub use generated::{DaemonProcess, DaemonProcessExtension, Endpoint, Frame, FrameKind, PayloadEncoding};
