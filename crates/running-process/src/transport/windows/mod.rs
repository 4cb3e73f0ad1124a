//! Named pipes.

#[cfg(feature = "tokio")]
mod asynchronous;
mod error;
mod listener;
mod lock;
mod name;
mod stop;
mod stream;

#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{
    AsyncBorrow, AsyncListener, AsyncStream, connect_async, into_async, poll_read_onto, poll_write,
    read_arrived_onto,
};
#[cfg(feature = "tokio")]
pub(super) use asynchronous::{AsyncWait, poll_read, read_arrived, retry_write};
pub(crate) use listener::Listener;
pub(super) use lock::{adopt_lock, find_lock, has_locks, is_lock_at, open_lock};
pub(crate) use stop::StopEvent;
pub(crate) use stream::Stream;
