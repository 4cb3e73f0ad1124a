//! Reasons why a process is not the daemon of a service.

use crate::broker::backend_sdk::BindError;
use crate::broker::protocol::EndpointNameError;
use crate::broker::service::handover_error::HandoverError;
use crate::broker::service::place_error::PlaceError;
use crate::broker::service::state::named;
use std::ffi::{OsStr, OsString};
use std::io;

/// The reason why this process is not the daemon of a service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForServiceError {
    /// The service has no place for its files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Another process is the daemon, or starts it.
    #[error("{} is the daemon of the service, or starts it", named(*pid))]
    Runs {
        /// The process in the identity file, or the one that holds the lock; `None` if the system does not tell.
        pid: Option<u32>,
    },
    /// A client has started this process as the daemon of another service, or of another key of it.
    #[error("this process was started as the daemon of the service {}, not of {}", keyed(service, started_key.as_deref()), keyed(own, own_key.as_deref()))]
    StartedForAnother {
        /// The service that the client has started.
        service: String,
        /// Its key; `None` if it has none.
        started_key: Option<OsString>,
        /// The service that this process wants to serve.
        own: String,
        /// Its key; `None` if it has none. [`Service::keyed_as_started`](crate::broker::service::Service::keyed_as_started) takes the other one.
        own_key: Option<OsString>,
    },
    /// A client has started this process as the successor of the daemon that runs, which goes on.
    #[error("the daemon that runs was not replaced by this process")]
    NotHandedOver(#[from] HandoverError),
    /// The lock or the socket cannot be taken.
    #[error("the daemon cannot take the place of the service")]
    Bind(#[from] BindError),
    /// The socket's path is no name of an endpoint.
    #[error("the daemon cannot take the place of the service")]
    Name(#[from] EndpointNameError),
    /// A file of the service cannot be written.
    #[error("a file of the service cannot be written")]
    Files(#[source] io::Error),
    /// The signals that ask the daemon to end cannot be handled.
    #[error("signals cannot be handled")]
    Signals(#[source] io::Error),
}

fn keyed(service: &str, key: Option<&OsStr>) -> String {
    key.map_or_else(
        || service.to_owned(),
        |key| format!("{service} with the key {:?}", key.to_string_lossy()),
    )
}
