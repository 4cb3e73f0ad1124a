//! Unix-domain sockets.

mod arrived;
#[cfg(feature = "tokio")]
mod asynchronous;
mod bind_error;
mod claim;
mod directory;
mod inherited;
mod listener;
mod lock;
mod name;
mod socket;
mod stop;
mod stream;
mod timeouts;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod watch;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd")))]
#[path = "unwatched.rs"]
mod watch;

#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{
    AsyncBorrow, AsyncListener, AsyncStream, connect_async, into_async, poll_read_onto, poll_write,
    read_arrived_onto,
};
#[cfg(feature = "tokio")]
pub(super) use asynchronous::{AsyncWait, poll_read, read_arrived, retry_write};
pub(crate) use directory::{Directory, FileIdentity, type_of};
pub(crate) use listener::Listener;
pub(crate) use stop::StopEvent;
pub(crate) use stream::Stream;
