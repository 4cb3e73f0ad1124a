//! What the client is connected by: the system's socket and tokio's channels, or a model checker's in its tests
//! (`ci/model.sh`).

#[cfg(not(all(test, shuttle)))]
mod imp {
    pub(in super::super) use crate::transport::{
        AsyncStream, connect_async, into_async, poll_read_onto, poll_write,
    };
    pub(in super::super) use tokio::sync::{mpsc, oneshot};
}

#[cfg(all(test, shuttle))]
mod imp {
    pub(in super::super) use super::super::driver::model::channels::{mpsc, oneshot};
    pub(in super::super) use super::super::driver::model::stream::{AsyncStream, poll_read_onto, poll_write};
    use crate::transport::{ConnectError, LocalStream};

    pub(in super::super) fn connect_async(_: &str) -> Result<AsyncStream, ConnectError> {
        unreachable!("the model has no sockets")
    }

    pub(in super::super) fn into_async(_: LocalStream) -> std::io::Result<AsyncStream> {
        unreachable!("the model has no sockets")
    }
}

pub(super) use imp::{AsyncStream, connect_async, into_async, mpsc, oneshot, poll_read_onto, poll_write};
