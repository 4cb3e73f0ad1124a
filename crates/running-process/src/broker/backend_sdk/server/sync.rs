//! The threads, locks and streams of the blocking server: the system's, or those of a model checker in its tests
//! (`ci/model.sh`).

#[cfg(not(all(test, shuttle)))]
mod imp {
    pub(crate) use crate::transport::LocalStream;
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(crate) use std::thread;

    /// Returns the stream as the server uses it.
    pub(crate) fn shared(stream: LocalStream) -> LocalStream {
        stream
    }

    /// Sleeps for `time`.
    pub(crate) fn pause(time: std::time::Duration) {
        thread::sleep(time);
    }

    /// Returns what was measured. The model checker, which has no clock, tries both results.
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
