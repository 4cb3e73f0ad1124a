//! Accepting connections, as a function of what the listener returns.

use super::accept_errors::{AcceptErrors, AfterError};
use super::config::ServeError;
use super::policy::ServerPolicy;
use super::publication::Publication;
use crate::transport::{Accepted, LocalStream};
use std::io;

/// The next step of a driver that accepts.
#[derive(Debug)]
pub(super) enum AcceptStep {
    /// Serve this connection, then accept the next one.
    Serve(LocalStream),
    /// Accept the next connection.
    Accept,
    /// Accept nothing until a connection has ended, or for [`ACCEPT_PAUSE`](super::ACCEPT_PAUSE).
    Pause,
    /// [Renew](Publication::renew) the files of the server on a thread that may block, and serve the connections that waited.
    Renew,
    /// Accept no more.
    End(io::Result<()>),
}

/// The steps of a driver that accepts.
pub(super) struct Acceptor<'a> {
    publication: &'a Publication,
    errors: AcceptErrors,
}

impl<'a> Acceptor<'a> {
    pub(super) fn new(publication: &'a Publication) -> Self {
        Self { publication, errors: AcceptErrors::default() }
    }

    /// Returns the next step after the listener returned `accepted`, and tells the observer of an error. An error ends accepting
    /// only if it is the listener's.
    pub(super) fn step<H: ?Sized>(
        &mut self,
        accepted: io::Result<Accepted<LocalStream>>,
        policy: &ServerPolicy<H>,
    ) -> AcceptStep {
        match accepted {
            Ok(Accepted::Connection(stream)) => {
                self.errors.forget();
                AcceptStep::Serve(stream)
            }
            Ok(Accepted::NameLost) if self.publication.is_renewed(policy) => AcceptStep::Renew,
            Ok(Accepted::NameLost) => AcceptStep::Accept,
            Ok(Accepted::Stopped) => AcceptStep::End(Ok(())),
            Err(error) => match self.errors.judge(error) {
                Ok((error, after)) => {
                    policy.report(&ServeError::Accept(error));
                    if after == AfterError::Pause { AcceptStep::Pause } else { AcceptStep::Accept }
                }
                Err(error) => AcceptStep::End(Err(error)),
            },
        }
    }
}
