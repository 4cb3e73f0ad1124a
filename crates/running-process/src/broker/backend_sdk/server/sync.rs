//! What threads are made of, and what they talk to: the system's, or a model checker's in its tests (`ci/model.sh`).

#[cfg(not(all(test, shuttle)))]
mod imp {
    pub(crate) use crate::transport::LocalStream;
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(crate) use std::thread;

    /// The connection as threads use it.
    pub(crate) fn shared(stream: LocalStream) -> LocalStream {
        stream
    }

    /// Lets time pass.
    pub(crate) fn pause(time: std::time::Duration) {
        thread::sleep(time);
    }

    /// What was measured: a model, which knows no time, tries both.
    pub(crate) fn either(measured: bool) -> bool {
        measured
    }
}

#[cfg(all(test, shuttle))]
mod imp {
    pub(crate) use crate::broker::backend_sdk::server::blocking::model::stream::LocalStream;
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(crate) use shuttle::thread;

    pub(crate) fn shared(_: crate::transport::LocalStream) -> LocalStream {
        unreachable!("the model accepts no connections of the system's")
    }

    pub(crate) fn pause(_: std::time::Duration) {
        thread::yield_now();
    }

    pub(crate) fn either(_: bool) -> bool {
        shuttle::rand::Rng::r#gen(&mut shuttle::rand::thread_rng())
    }
}

pub(super) use imp::{Condvar, LocalStream, Mutex, MutexGuard, atomic, either, pause, shared, thread};
