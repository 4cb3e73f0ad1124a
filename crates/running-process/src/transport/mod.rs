//! Local connections: Unix-domain sockets on Unix, named pipes on Windows, in one shape.
//!
//! [`LocalStream`] is a connected byte stream with a deadline per call. [`LocalListener`] owns a name and accepts
//! connections until its [`StopSignal`] is given. Names are strings: the path of the socket on Unix, the bare pipe name
//! on Windows. Nothing polls on an interval, and connecting never waits.
//!
//! One thread may read from a connection while another writes to it; each uses its own clone or a shared reference.

#[cfg(not(any(unix, windows)))]
compile_error!("the feature `host` needs Unix-domain sockets or Windows named pipes");

mod accepted;
#[cfg(feature = "tokio")]
mod asynchronous;
mod descriptors;
mod error;
#[cfg(unix)]
#[path = "unix/mod.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod imp;
mod incoming;
mod instance_lock;
mod late;
mod listener;
#[cfg(feature = "tokio")]
mod served;
#[cfg(feature = "tokio")]
mod served_io;
mod stop;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "tokio")]
mod upstream;

pub use crate::sys::NotPassed;
pub(crate) use accepted::Accepted;
#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{AsyncListener, into_async};
#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{poll_read_onto_with, poll_write_with, read_arrived_onto_with};
pub(crate) use error::timed_out;
pub use error::{BindError, ConnectError, DirectoryFault, InheritedFault, LockFault, NameError};
#[cfg(all(feature = "tokio", any(target_os = "linux", target_os = "android")))]
pub(crate) use imp::SpliceRelay;
#[cfg(feature = "tokio")]
pub(crate) use imp::{AsyncStream, connect_async, poll_read_onto, poll_write, read_arrived_onto};
#[cfg(unix)]
pub(crate) use imp::{
    Directory, FileIdentity, MAX_PATH_BYTES, SharedSocket, is_stale_socket, listen_only, receive_descriptors,
    remove_stale_socket, send_descriptors, type_of,
};
pub(crate) use incoming::Incoming;
#[cfg(unix)]
pub(crate) use instance_lock::again_if_interrupted;
pub(crate) use instance_lock::{HeldLock, InstanceLock};
pub(crate) use late::{LateReads, MAX_LATE_READS};
pub use listener::LocalListener;
#[cfg(feature = "tokio")]
pub(crate) use served::{ServedStream, ServedTransport};
#[cfg(feature = "tokio")]
pub(crate) use served_io::ServedIo;
pub use stop::StopSignal;
pub use stream::LocalStream;
#[cfg(feature = "tokio")]
pub(crate) use upstream::Upstream;
