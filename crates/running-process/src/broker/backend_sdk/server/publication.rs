//! The files by which clients find a server, which are made again if they are removed from under a service.

use super::config::ServeError;
use super::error::ServerError;
use super::lifecycle::Lifecycle;
use super::policy::ServerPolicy;
use super::registration_state::{RegistrationState, lock};
use super::stop::ServerStop;
use crate::transport::{BindError, LocalListener, LocalStream};
use std::error::Error;
use std::io;
use std::iter;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bound on the attempts to publish a server again while its files are being removed.
const ATTEMPTS: u32 = 100;

/// Time between two such attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// The socket and the identity file of a server. Those of a service are made again if they were removed.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) path: String,
    pub(super) state: Arc<Mutex<RegistrationState>>,
    pub(super) lifecycle: Option<Arc<dyn Lifecycle>>,
}

impl Publication {
    /// Makes `listener` tell when the socket is removed or replaced, of a service also when the lock is. Reports it if the system
    /// cannot.
    pub(super) fn watch<H: ?Sized>(&self, listener: &mut LocalListener, policy: &ServerPolicy<H>) {
        let is_service = self.lifecycle.is_some();
        let watched = if is_service { listener.watch_service() } else { listener.watch_name() };
        if let Err(source) = watched {
            policy.report(&ServeError::NotWatched { path: self.path.clone(), source });
        }
    }

    /// Returns whether the files are to be [made again](Self::renew) now that one of them is lost; reports the loss if not.
    pub(super) fn is_renewed<H: ?Sized>(&self, policy: &ServerPolicy<H>) -> bool {
        if self.lifecycle.is_none() {
            policy.report(&ServeError::EndpointLost { path: self.path.clone() });
        }
        self.lifecycle.is_some()
    }

    /// Makes again what is missing of the files of a service. Returns the connections that waited at a former socket. Writes
    /// files and sleeps; `listener` is locked only while it changes. If the files cannot be made, stops the server.
    pub(super) fn renew<H: ?Sized>(
        &self,
        listener: &Mutex<Option<LocalListener>>,
        policy: &ServerPolicy<H>,
        stop: &ServerStop,
    ) -> Vec<LocalStream> {
        let (mut renewed, mut waiting, mut attempts) = (false, Vec::new(), 0);
        loop {
            attempts += 1;
            match self.try_renew(listener, &mut renewed, &mut waiting) {
                Err(error) if tries_again(attempts, &error) => thread::sleep(PAUSE),
                result => {
                    match result {
                        Ok(reports) => reports.iter().for_each(|report| policy.report(report)),
                        Err(source) => self.not_renewed(source, policy, stop),
                    }
                    return waiting;
                }
            }
        }
    }

    /// Stops the server, because its files cannot be made again. The server [ends](Self::end) with an error of the system, and without
    /// one if another process has its place.
    pub(super) fn not_renewed<H: ?Sized>(
        &self,
        source: io::Error,
        policy: &ServerPolicy<H>,
        stop: &ServerStop,
    ) {
        let source = Arc::new(source);
        lock(&self.state).not_renewed = (!is_taken(&source)).then(|| Arc::clone(&source));
        stop.stop();
        policy.report(&ServeError::NotRepublished { path: self.path.clone(), source });
    }

    /// Returns the error of the system for which the server was stopped, if its files could not be made again.
    pub(super) fn end(&self) -> Result<(), ServerError> {
        let not_renewed = lock(&self.state).not_renewed.take();
        not_renewed
            .map_or(Ok(()), |source| Err(ServerError::NotRepublished { path: self.path.clone(), source }))
    }

    /// Makes the directories, the socket with its lock and the identity file, and returns what to report. Adds the connections
    /// that waited at a former socket to `waiting`, and sets `renewed` if the socket or the lock are new.
    fn try_renew(
        &self,
        listener: &Mutex<Option<LocalListener>>,
        renewed: &mut bool,
        waiting: &mut Vec<LocalStream>,
    ) -> io::Result<Vec<ServeError>> {
        let Some(lifecycle) = &self.lifecycle else { return Ok(Vec::new()) };
        lifecycle.prepare(&self.path)?;
        let mut unwatched = None;
        {
            let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(listener) = &mut *listener else { return Ok(Vec::new()) };
            let republished = listener.publish_again().map_err(io::Error::other)?;
            waiting.extend(republished.waiting);
            *renewed |= republished.renewed;
            if *renewed {
                unwatched = listener.watch_service().err();
            }
        }
        if let Some(error) = unwatched.take_if(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(error);
        }
        let written = lock(&self.state).write_again(&**lifecycle)?;
        let path = || self.path.clone();
        let republished = (*renewed || written).then(|| ServeError::Republished { path: path() });
        let unwatched = unwatched.map(|source| ServeError::NotWatched { path: path(), source });
        Ok(republished.into_iter().chain(unwatched).collect())
    }
}

/// Returns whether the files cannot be made again because another process has their place.
fn is_taken(error: &io::Error) -> bool {
    use BindError::{HeldByChild, InUse, OtherSocket, PassedSocketLost};
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(InUse { .. } | HeldByChild { .. } | OtherSocket { .. } | PassedSocketLost { .. }))
}

/// Returns whether to try again after `attempts` that failed, the last one with `error`. A directory is removed file by file, so
/// what was just made may be missing already.
fn tries_again(attempts: u32, error: &io::Error) -> bool {
    let is_not_found = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let first = error.get_ref().map(|cause| cause as &(dyn Error + 'static));
    let mut causes = iter::successors(first, |cause: &&(dyn Error + 'static)| (*cause).source());
    let is_missing = is_not_found(error)
        || causes.any(|cause| {
            cause.downcast_ref().is_some_and(is_not_found)
                || cause.downcast_ref::<Arc<io::Error>>().is_some_and(|error| is_not_found(error))
                || matches!(cause.downcast_ref(), Some(BindError::NoDirectory { .. }))
        });
    is_missing && attempts < ATTEMPTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_meanwhile_is_made_again_and_other_errors_end_the_server() {
        let path = || "s".to_owned();
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let passing = [
            missing(),
            io::Error::other(missing()),
            io::Error::other(BindError::NoDirectory { path: path() }),
            io::Error::other(BindError::Io { path: path(), source: Arc::new(missing()) }),
        ];
        for error in passing {
            assert!(tries_again(1, &error), "{error:?}");
            assert!(!tries_again(ATTEMPTS, &error));
        }
        let lasting = [
            io::Error::other(BindError::InUse { path: path() }),
            io::Error::from(io::ErrorKind::PermissionDenied),
        ];
        for error in lasting {
            assert!(!tries_again(1, &error), "{error:?}");
        }
    }
}
