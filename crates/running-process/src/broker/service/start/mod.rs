//! The client's side: it finds the daemon, or starts one exactly once.

pub(super) mod command;
pub(super) mod ends_with;
pub(super) mod ensure;
pub(super) mod ensure_error;
pub(super) mod environment;
pub(super) mod launch;
pub(super) mod log;
mod private_copy;
mod progress;
pub(super) mod supervise;
