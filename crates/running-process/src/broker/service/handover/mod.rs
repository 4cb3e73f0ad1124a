//! The handover of a service's endpoint from the daemon that runs to its successor.
//!
//! The successor connects to the daemon's [control socket](control_socket), gets the descriptors of the lock and of the listening
//! socket, and takes over with the rename of the identity file. Until the daemon has read that, it can end the successor and go on.

mod channel;
mod control;
mod control_socket;
mod messages;
mod predecessor;
mod shared;
mod succession;
mod successor;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

pub(super) use succession::Succession;
pub(super) use successor::{Succeeded, succeed};
