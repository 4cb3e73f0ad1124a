//! Many services, looked at on a bounded number of threads.

use super::Selected;
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::protocol::{STATUS_PAYLOAD_PROTOCOL, ServerStatus};
use running_process::broker::service::{Decision, FindError, LastFailure, ServiceState};
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Largest number of threads. A thread mostly waits for the answers of daemons.
const MAX_THREADS: usize = 16;

/// A service with all that one look at it tells.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) selected: Selected,
    pub(crate) state: Result<ServiceState, FindError>,
    /// The activity of the daemon, without this command's own connection; `None` if it is not live, or does not tell.
    pub(crate) status: Option<ServerStatus>,
    /// The decision of a client with the service's file about the daemon; `None` if it is not live.
    pub(crate) decision: Option<Decision>,
    /// The failure of the last start, if no daemon has served since.
    pub(crate) last_failure: Option<LastFailure>,
    /// Resident memory of the daemon in bytes; `None` if it is not live, or the system does not tell.
    pub(crate) memory: Option<u64>,
}

/// Looks at all of these services, for at most `deadline`. Nothing is started or changed.
pub(crate) fn survey(services: Vec<Selected>, deadline: Duration) -> Vec<Surveyed> {
    let until = Instant::now() + deadline;
    on_threads(services, |selected| {
        let state = selected.service.find(until);
        let (status, memory, decision) = match &state {
            Ok(ServiceState::Live(daemon)) => (
                status(daemon, until),
                daemon.resident_bytes().ok(),
                selected.service.decide(&daemon.daemon_process).ok(),
            ),
            _ => (None, None, None),
        };
        let last_failure = match &state {
            Ok(ServiceState::Absent) => selected.service.last_failure().ok().flatten(),
            _ => None,
        };
        Surveyed { selected, state, status, decision, last_failure, memory }
    })
}

/// Returns the results of `look` for all of these, in their order, from a bounded number of threads.
pub(crate) fn on_threads<S: Send, T: Send>(all: Vec<S>, look: impl Fn(S) -> T + Sync) -> Vec<T> {
    let threads = all.len().min(MAX_THREADS);
    let next = Mutex::new(all.into_iter().enumerate());
    let work = || {
        let mut results = Vec::new();
        loop {
            // The lock is held only to take the next one.
            let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, selected)) = taken else { return results };
            results.push((index, look(selected)));
        }
    };
    let mut results = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Asks a daemon for its activity, on the connection on which it has proven itself; `None` if it does not tell before `until`.
pub(crate) fn status(daemon: &BackendHandle, until: Instant) -> Option<ServerStatus> {
    let mut client = daemon.client().ok()?;
    client.set_timeout(Some(until.saturating_duration_since(Instant::now())));
    let response = client.request(STATUS_PAYLOAD_PROTOCOL, Vec::new()).ok()?;
    ServerStatus::from_payload(&response.payload).ok().map(without_own_connection)
}

/// Returns the activity of a daemon without the connection on which it was asked.
pub(crate) fn without_own_connection(mut status: ServerStatus) -> ServerStatus {
    status.connections_open = status.connections_open.saturating_sub(1);
    status
}
