//! Local connections: Unix-domain sockets on Unix, named pipes on Windows, in one shape.
//!
//! [`LocalStream`] is a connected byte stream with a deadline per call, [`LocalListener`] owns a name and accepts
//! until its [`StopSignal`] is given. Names are strings: the path of the socket on Unix, the bare pipe name on
//! Windows. Nothing polls on an interval, and connecting never waits.
//!
//! At any time one thread may read from a connection and another write to it; each works on its own clone or on a
//! shared reference.

#[cfg(not(any(unix, windows)))]
compile_error!("the feature `host` needs Unix-domain sockets or Windows named pipes");

mod error;
#[cfg(unix)]
#[path = "unix/mod.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod imp;
mod late;
#[cfg(feature = "tokio")]
mod served;
#[cfg(feature = "tokio")]
mod served_io;
#[cfg(test)]
mod tests;
mod traits;

pub use crate::sys::NotPassed;
pub use error::{BindError, ConnectError, DirectoryFault, InheritedFault, LockFault, NameError};

#[cfg(feature = "tokio")]
pub(crate) use imp::{
    AsyncListener, AsyncStream, connect_async, into_async, poll_read_onto, poll_write, read_arrived_onto,
};
#[cfg(unix)]
pub(crate) use imp::{Directory, FileIdentity, type_of};
pub use imp::{LocalListener, LocalStream, StopSignal};
pub(crate) use late::LateReads;
#[cfg(feature = "tokio")]
pub(crate) use served::{ServedStream, ServedTransport};
#[cfg(feature = "tokio")]
pub(crate) use served_io::ServedIo;

use std::io;

/// An event that a listener waits for.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(LocalStream),
    /// The name leads to this listener no more.
    #[cfg_attr(windows, allow(dead_code, reason = "a pipe has its name for as long as it is there"))]
    NameLost,
    /// Only where it waits for a signal to stop.
    Stopped,
}

/// A connection was accepted that cannot be used, such as one whose other side is gone already. That says nothing of its
/// listener, whatever `error` would say of one.
pub(crate) fn unprepared(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// The one error of every call whose deadline has passed.
pub(crate) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the deadline has passed")
}
