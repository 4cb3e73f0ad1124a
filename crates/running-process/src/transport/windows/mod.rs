//! Named pipes.

#[cfg(feature = "tokio")]
mod asynchronous;
mod listener;
mod name;
mod stop;
mod stream;

#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{
    AsyncListener, AsyncStream, connect_async, into_async, poll_read_onto, poll_write, read_arrived_onto,
};
#[cfg(feature = "tokio")]
pub(super) use asynchronous::{AsyncWait, poll_read, read_arrived, retry_write};
pub use listener::LocalListener;
pub use stop::StopSignal;
pub use stream::LocalStream;

use std::io;

/// Whether `error` is the system's error `code`.
fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
