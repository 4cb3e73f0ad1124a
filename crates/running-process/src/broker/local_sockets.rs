//! The Unix-domain sockets of the machine, and the processes that listen on them.
//!
//! This finds daemons without their identity files, also those that no identity file names any more.

pub use crate::sys::{AcceptQueue, ListeningSocket, ProcessDescription, SocketName, listening_sockets};
