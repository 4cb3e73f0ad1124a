//! Unix-domain sockets.

mod arrived;
#[cfg(feature = "tokio")]
mod asynchronous;
mod bind_error;
mod claim;
mod descriptors;
mod directory;
mod inherited;
mod listener;
mod lock;
mod name;
mod shared_socket;
mod socket;
#[cfg(all(feature = "tokio", any(target_os = "linux", target_os = "android")))]
mod splice;
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
pub(super) use asynchronous::{
    AsyncWait, poll_read, poll_read_with, poll_write_with, read_arrived, read_arrived_with, retry_write,
};
pub(crate) use claim::{is_stale_socket, remove_stale_socket};
pub(crate) use descriptors::{receive_descriptors, send_descriptors};
pub(crate) use directory::{Directory, FileIdentity, type_of};
pub(crate) use inherited::take_passed;
pub(crate) use listener::Listener;
pub(super) use lock::{adopt_lock, find_lock, has_locks, is_lock_at, open_lock};
pub(crate) use name::MAX_PATH_BYTES;
pub(crate) use shared_socket::SharedSocket;
pub(crate) use socket::listen_only;
#[cfg(all(feature = "tokio", any(target_os = "linux", target_os = "android")))]
pub(crate) use splice::SpliceRelay;
pub(crate) use stop::StopEvent;
pub(crate) use stream::Stream;
