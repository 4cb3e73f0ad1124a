//! The lock and the socket of driver and callers: those of the system, or of a model checker in its tests
//! (`ci/model.sh`).

#[cfg(not(all(test, shuttle)))]
mod imp {
    pub(in super::super) use crate::transport::{
        AsyncStream, connect_async, into_async, poll_read_onto, poll_read_onto_with, poll_write,
        poll_write_with, read_arrived_onto, read_arrived_onto_with,
    };
    pub(in super::super) use std::sync::{Mutex, MutexGuard};
}

#[cfg(all(test, shuttle))]
mod imp {
    pub(in super::super) use crate::broker::backend_sdk::client::tokio::driver::model::stream::{
        AsyncStream, poll_read_onto, poll_read_onto_with, poll_write, poll_write_with, read_arrived_onto,
        read_arrived_onto_with,
    };
    use crate::transport::{ConnectError, LocalStream};
    pub(in super::super) use shuttle::sync::{Mutex, MutexGuard};

    pub(in super::super) fn connect_async(_: &str) -> Result<AsyncStream, ConnectError> {
        unreachable!("the model has no sockets")
    }

    pub(in super::super) fn into_async(_: LocalStream) -> std::io::Result<AsyncStream> {
        unreachable!("the model has no sockets")
    }
}

pub(super) use imp::{
    AsyncStream, Mutex, MutexGuard, connect_async, into_async, poll_read_onto, poll_read_onto_with,
    poll_write, poll_write_with, read_arrived_onto, read_arrived_onto_with,
};
