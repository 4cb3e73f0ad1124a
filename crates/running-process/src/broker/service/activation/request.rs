//! The connection by which a client has the service manager start the daemon.

use crate::broker::backend_lifecycle::probe::{EndpointProbeChallenge, ProbeError};
use crate::broker::service::deadline::Deadline;
use crate::broker::service::find_error::FindError;
use crate::broker::service::paths::{ServicePaths, text};
use crate::transport::{ConnectError, LocalStream};
use std::io;
use std::time::Instant;

/// A connection to the socket of a service on which an identity probe waits for its answer. The daemon answers once its identity file
/// is there, so one event wakes each client.
pub(in crate::broker::service) struct ActivationRequest(LocalStream);

/// The event for which a client with such a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker::service) enum ActivationEvent {
    /// The daemon has answered.
    Answered,
    /// The connection has ended: the daemon has, or the service manager does not listen any more.
    Closed,
    /// Nothing happened.
    TimedOut,
}

impl ActivationRequest {
    /// Connects to the socket, so that the service manager starts the daemon. Returns `None` if no process listens there.
    pub(in crate::broker::service) fn send(
        paths: &ServicePaths,
        deadline: Deadline,
    ) -> Result<Option<Self>, FindError> {
        let stream = match LocalStream::connect(&text(&paths.socket_path())?) {
            Ok(stream) => stream,
            Err(ConnectError::NotFound { .. } | ConnectError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(FindError::Probe(ProbeError::Connect(error))),
        };
        let failed = |error| FindError::Probe(ProbeError::Stream(error));
        let mut request = Vec::new();
        let challenge = EndpointProbeChallenge::random().map_err(failed)?;
        challenge.request().encode_framed(&mut request).map_err(|error| failed(io::Error::other(error)))?;
        // If the connection has ended already, waiting for the answer tells it.
        let _told_later = stream.write_all_deadline(&request, deadline.instant());
        Ok(Some(Self(stream)))
    }

    /// Waits for the answer, but not longer than until `until`.
    pub(in crate::broker::service) fn wait(&self, until: Instant) -> ActivationEvent {
        match self.0.read_deadline(&mut [0], Some(until)) {
            Ok(length) if length > 0 => ActivationEvent::Answered,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => ActivationEvent::TimedOut,
            _ => ActivationEvent::Closed,
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::broker::service::scratch::ScratchService;
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    #[test]
    fn a_client_waits_for_an_answer_and_sees_the_end_of_its_connection() {
        let ScratchService { paths, .. } = &ScratchService::new("asked");
        let send = || ActivationRequest::send(paths, Deadline::never()).unwrap();
        assert!(send().is_none(), "no process listens");
        let manager = UnixListener::bind(paths.socket_path()).unwrap();
        let request = send().unwrap();
        let mut daemon = manager.accept().unwrap().0;
        assert_eq!(request.wait(Instant::now() + Duration::from_millis(20)), ActivationEvent::TimedOut);
        daemon.write_all(b"a").unwrap();
        assert_eq!(request.wait(Instant::now() + Duration::from_mins(1)), ActivationEvent::Answered);
        daemon.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(request.wait(Instant::now() + Duration::from_mins(1)), ActivationEvent::Closed);
    }
}
