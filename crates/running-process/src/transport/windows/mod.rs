//! Named pipes.

#[cfg(feature = "tokio")]
mod asynchronous;
mod listener;
mod name;
mod stop;
mod stream;

#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{
    AsyncListener, AsyncStream, connect_async, into_async, poll_read_onto, poll_write,
};
#[cfg(feature = "tokio")]
pub(super) use asynchronous::{AsyncWait, poll_read};
pub use listener::LocalListener;
pub use stop::StopSignal;
pub use stream::LocalStream;

use std::io;

/// Whether `error` is the system's error `code`.
fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
