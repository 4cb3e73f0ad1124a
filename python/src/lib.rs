//! The native half of the Python package `running_process_client`: the clients of running-process.
//!
//! A blocking call drives the sockets of all clients ([`runtime`]) while it waits without the interpreter's lock ([`wait`]). Once asyncio is
//! used, a thread of their own drives them. It never enters the interpreter: results wait in a queue of their event loop
//! ([`completions`]), which a descriptor wakes.
//! Data and exceptions are Python classes, which [`data`] and [`error`] make.

mod client;
mod completions;
mod data;
mod error;
mod handle;
mod policy;
mod process_bound;
mod runtime;
mod service;
mod stream;
mod wait;

use pyo3::prelude::*;

/// The native half of `running_process_client`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::completions::{Call, Completions};
    #[pymodule_export]
    use super::handle::{Handle, probe, probe_claim, read_identity, start_probe};
    #[pymodule_export]
    use super::process_bound::after_fork_in_child;
    #[pymodule_export]
    use super::service::{Service, ensure, find, stop};
    #[pymodule_export]
    use super::stream::EventStream;
    #[pymodule_export]
    use super::wait::at_exit;
}
