//! What threads are made of, and what they talk to: the system's, or a model checker's in its tests (`ci/model.sh`).

#[cfg(not(all(test, shuttle)))]
mod imp {
    pub(in super::super) use crate::transport::LocalStream;
    pub(in super::super) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(in super::super) use std::thread;

    /// The connection as threads use it.
    pub(in super::super) fn shared(stream: LocalStream) -> LocalStream {
        stream
    }
}

#[cfg(all(test, shuttle))]
mod imp {
    pub(in super::super) use super::super::model::stream::LocalStream;
    pub(in super::super) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(in super::super) use shuttle::thread;

    pub(in super::super) fn shared(_: crate::transport::LocalStream) -> LocalStream {
        unreachable!("the model accepts no connections of the system's")
    }
}

pub(super) use imp::{Condvar, LocalStream, Mutex, MutexGuard, atomic, shared, thread};
