//! One look at a service, and its verdict.

use super::deadline::Deadline;
use super::definition::Service;
use super::find_error::FindError;
use super::history::{History, Stage};
use super::operation::OperationWait;
use super::paths::ServicePaths;
use super::replace::abandoned;
use super::replace::replacing::Replacing;
use super::state::ServiceState;
use crate::broker::backend_handle::BackendHandle;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::backend_lifecycle::verify::{self, recorded_process};
use crate::sys::LockHolder;
use crate::transport::{ConnectError, InstanceLock};
use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Longest time of one proof. After that the identity file is read again: another daemon may have taken the service over.
const PROOF_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks that find another process in the place of the daemon before it is told, if no process replaces the daemon.
const DOUBTS: u32 = 3;
/// Time between two of them.
const DOUBT_PAUSE: Duration = Duration::from_millis(3);
/// Longest time for which another process in the place of the daemon is not told while a process replaces the daemon.
const LONGEST_DOUBT: Duration = Duration::from_secs(10);
/// Time for which a lock without a daemon is looked at again: a daemon that ends withdraws its announcement before it releases its lock.
pub(super) const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// The identity file and the socket, as one look finds them.
pub(super) enum Look {
    Live(Box<BackendHandle>),
    Busy {
        pid: u32,
    },
    Impostor(ProbeError),
    NotInspectable(ProbeError),
    /// No daemon serves. The lock decides whether one starts or drains.
    NotServed {
        stale: Option<Box<DaemonProcess>>,
    },
}

impl Service {
    /// Returns the state of the service, and starts and changes nothing.
    ///
    /// # Errors
    ///
    /// [`FindError`] says why the state cannot be told.
    pub fn find(&self, deadline: impl Into<Deadline>) -> Result<ServiceState, FindError> {
        self.state(&ServicePaths::of(self)?, deadline.into())
    }

    pub(super) fn state(&self, paths: &ServicePaths, deadline: Deadline) -> Result<ServiceState, FindError> {
        let state = || {
            Ok(match self.look(paths, deadline)? {
                Look::Live(handle) => ServiceState::Live(handle),
                Look::Busy { pid } => ServiceState::Busy { pid },
                Look::Impostor(error) => ServiceState::Impostor(error),
                Look::NotInspectable(error) => ServiceState::NotInspectable(error),
                Look::NotServed { stale } => not_served(paths, self.start_timeout, stale.as_deref())?,
            })
        };
        match state()? {
            // The daemon may have begun to serve between the look at it and that at its lock.
            ServiceState::HeldByOrphan { .. } => state(),
            certain => Ok(certain),
        }
    }

    /// Reads the identity file and verifies the daemon in it.
    ///
    /// While a daemon hands its endpoint over, either of both processes may answer, and the other one be in the identity file. So
    /// another process in the place of the daemon is looked at again before this tells it.
    pub(super) fn look(&self, paths: &ServicePaths, deadline: Deadline) -> Result<Look, FindError> {
        let (mut doubts, mut replaced_since) = (0, None);
        loop {
            let look = self.look_once(paths, deadline)?;
            let Look::Impostor(_) = look else { return Ok(look) };
            let may_pass = if Replacing::is_held(paths)? {
                replaced_since.get_or_insert_with(Instant::now).elapsed() < LONGEST_DOUBT
            } else {
                // A replacement that is over by now may have been under way when this looked.
                doubts += 1;
                doubts < DOUBTS
            };
            if !may_pass {
                return Ok(look);
            }
            if deadline.has_passed() {
                let in_doubt = replaced_since.and(paths.identity()?);
                return Ok(in_doubt.map_or(look, |identity| Look::Busy { pid: identity.pid }));
            }
            thread::sleep(deadline.left().unwrap_or(DOUBT_PAUSE).min(DOUBT_PAUSE));
        }
    }

    /// Looks as [`look`](Self::look) does, for a process that holds a lock of the service, and tells another process in the place of
    /// the daemon at once.
    pub(super) fn look_once(&self, paths: &ServicePaths, deadline: Deadline) -> Result<Look, FindError> {
        self.look_past(paths, None, deadline)
    }

    /// Looks as [`look_once`](Self::look_once) does, as if no daemon served while the identity file names the process `predecessor`,
    /// which is not asked to prove itself.
    pub(super) fn look_past(
        &self,
        paths: &ServicePaths,
        predecessor: Option<u32>,
        deadline: Deadline,
    ) -> Result<Look, FindError> {
        let is_other = |identity: &DaemonProcess| Some(identity.pid) != predecessor;
        let read = || paths.identity().map(|identity| identity.filter(is_other));
        let mut identity = read()?;
        loop {
            let Some(expected) = identity else { return Ok(Look::NotServed { stale: None }) };
            let verified =
                BackendHandle::verify(&expected, self.policy.clone(), deadline.within(PROOF_TIMEOUT));
            let error = match verified {
                Ok(handle) => return Ok(Look::Live(Box::new(self.label(handle)))),
                Err(error) => error,
            };
            let verdict = judge(error, &expected).and_then(|look| match look {
                // A daemon holds the lock for life, so that tells more than what cannot be seen of it.
                Look::NotInspectable(_) if !is_held(paths)? => {
                    Ok(Look::NotServed { stale: Some(Box::new(expected.clone())) })
                }
                look => Ok(look),
            });
            // The file may be another daemon's by now, which explains every failure.
            identity = read()?;
            if identity.as_ref() == Some(&expected) || deadline.has_passed() {
                return verdict;
            }
        }
    }

    /// Returns the process of the daemon that the identity file names, if a signal or a debugger has stopped it. It answers nobody
    /// before it is told to go on.
    ///
    /// # Platform-specific behavior
    ///
    /// Only Linux tells. Elsewhere this is `None`.
    #[must_use]
    pub fn stopped_process(&self) -> Option<u32> {
        stopped_process(&ServicePaths::of(self).ok()?)
    }

    fn label(&self, mut handle: BackendHandle) -> BackendHandle {
        handle.service_name.clone_from(&self.name);
        handle.service_version.clone_from(&self.version);
        handle
    }
}

/// Returns the process of the recorded daemon if it is stopped, as [`Service::stopped_process`] does.
pub(super) fn stopped_process(paths: &ServicePaths) -> Option<u32> {
    verify::stopped_process(&paths.identity().ok()??)
}

/// Returns what a failed proof says about the daemon `expected`.
fn judge(error: ProbeError, expected: &DaemonProcess) -> Result<Look, FindError> {
    let pid = expected.pid;
    Ok(match error {
        ProbeError::Gone { .. } | ProbeError::ReusedPid { .. } | ProbeError::OtherBoot { .. } => {
            Look::NotServed { stale: Some(Box::new(expected.clone())) }
        }
        // Its socket was removed, or it does not accept any more. Some systems refuse as well if it is only busy.
        ProbeError::Connect(ConnectError::Refused { .. } | ConnectError::NotFound { .. }) => {
            if recorded_process(expected).is_ok() {
                Look::Busy { pid }
            } else {
                Look::NotServed { stale: Some(Box::new(expected.clone())) }
            }
        }
        ProbeError::TimedOut | ProbeError::Closed | ProbeError::Connect(ConnectError::BacklogFull { .. }) => {
            Look::Busy { pid }
        }
        ProbeError::Stream(ref source) if is_hang_up(source) => Look::Busy { pid },
        ProbeError::NotInspectable { .. } | ProbeError::OtherNamespace { .. } => Look::NotInspectable(error),
        ProbeError::Impostor { .. }
        | ProbeError::WrongImage { .. }
        | ProbeError::OtherImage { .. }
        | ProbeError::Framing(_)
        | ProbeError::Response(_)
        | ProbeError::Unasked { .. }
        | ProbeError::Mismatch(_) => Look::Impostor(error),
        error => return Err(FindError::Probe(error)),
    })
}

/// Returns whether the peer ended the connection: any other error is this process's own.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
    )
}

/// Returns the state of a service that no daemon serves: the lock and the history tell.
pub(super) fn not_served(
    paths: &ServicePaths,
    start_timeout: Duration,
    stale: Option<&DaemonProcess>,
) -> Result<ServiceState, FindError> {
    if let Some(waiting) = OperationWait::at(&paths.starting()) {
        let history = History::read(paths);
        return Ok(ServiceState::Starting { by: waiting.process(), since: history.began });
    }
    if let Some(waiting) = OperationWait::at(&paths.draining()) {
        return Ok(ServiceState::Draining { pid: waiting.process() });
    }
    let holder = holder(paths)?;
    let history = History::read(paths);
    let Some(holder) = holder else {
        if let Some(replacing) = OperationWait::at(&paths.replacing_announced()) {
            return Ok(ServiceState::Starting { by: replacing.process(), since: None });
        }
        if let Some(successor) = abandoned::find(paths)? {
            return Ok(ServiceState::Starting { by: Some(successor.process.pid()), since: None });
        }
        return Ok(match (history.backs_off(SystemTime::now()), stale) {
            (Some(until), _) => {
                ServiceState::BackingOff { until, failure: history.failure.map(|(_, failure)| failure) }
            }
            (None, Some(stale)) => ServiceState::Stale { pid: stale.pid },
            (None, None) => ServiceState::Absent,
        });
    };
    Ok(match explain(&holder, &history, stale, start_timeout) {
        Explanation::Starts { by } => ServiceState::Starting { by, since: history.began },
        Explanation::Drains { pid } => ServiceState::Draining { pid },
        Explanation::None => {
            succession(paths, &holder)?.unwrap_or(ServiceState::HeldByOrphan { pid: holder.pid() })
        }
    })
}

/// The reason why a process holds the lock although no daemon serves and no operation is announced.
enum Explanation {
    Starts { by: Option<u32> },
    Drains { pid: Option<u32> },
    None,
}

fn explain(
    holder: &LockHolder,
    history: &History,
    stale: Option<&DaemonProcess>,
    start_timeout: Duration,
) -> Explanation {
    if let Some(stale) = stale
        && holder.pids().contains(&stale.pid)
        && recorded_process(stale).is_ok()
    {
        return Explanation::Drains { pid: Some(stale.pid) };
    }
    let daemon = history.process.map(|(pid, _)| pid).filter(|pid| holder.pids().contains(pid));
    let is_recent = || {
        let age = history.began.and_then(|began| began.elapsed().ok());
        age.is_some_and(|age| age < start_timeout)
    };
    match (history.stage, daemon, holder) {
        (Stage::Served, Some(pid), _) => Explanation::Drains { pid: Some(pid) },
        // The client that started it has ended or given up.
        (Stage::Starting, Some(pid), _) => Explanation::Starts { by: Some(pid) },
        // It is about to announce its start, or has just ended it.
        (_, None, LockHolder::Owner { pid }) => Explanation::Starts { by: Some(*pid) },
        (Stage::Starting, None, _) if is_recent() => Explanation::Starts { by: holder.pid() },
        _ => Explanation::None,
    }
}

/// Returns the start of the process that is becoming the daemon, if `holder` holds the lock for that: the daemon before it has ended
/// in the middle of a handover.
fn succession(paths: &ServicePaths, holder: &LockHolder) -> Result<Option<ServiceState>, FindError> {
    let starts = |by| Some(ServiceState::Starting { by, since: None });
    if let Some(replacing) = OperationWait::at(&paths.replacing_announced())
        && replacing.process() != Some(std::process::id())
    {
        return Ok(starts(replacing.process()));
    }
    let replacing = InstanceLock::holder(&paths.replacing()).map_err(FindError::Lock)?;
    let Some(replacing) = replacing else { return Ok(None) };
    if *holder == LockHolder::Unknown || replacing == LockHolder::Unknown {
        // The note about the successor tells.
        return Ok(abandoned::find(paths)?.and_then(|successor| starts(Some(successor.process.pid()))));
    }
    let both = holder.pids().iter().find(|pid| replacing.pids().contains(pid));
    Ok(both.and_then(|pid| starts(Some(*pid))))
}

/// Returns the holder of the lock, or of that of the starter if it is another one.
pub(super) fn holder(paths: &ServicePaths) -> Result<Option<LockHolder>, FindError> {
    for lock in paths.locks() {
        if let Some(holder) = InstanceLock::holder(&lock).map_err(FindError::Lock)? {
            return Ok(Some(holder));
        }
    }
    Ok(None)
}

/// Returns whether a process serves, starts or drains, or keeps the lock of one that did.
pub(super) fn is_held(paths: &ServicePaths) -> Result<bool, FindError> {
    for lock in paths.locks() {
        if InstanceLock::is_held(&lock).map_err(FindError::Lock)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the lock of the starter; `None` if a daemon runs, or another process starts one.
pub(super) fn take_start_lock(paths: &ServicePaths) -> Result<Option<InstanceLock>, FindError> {
    let taken = InstanceLock::try_take(&paths.start_lock()).map_err(FindError::Lock)?;
    if taken.is_none() || paths.start_lock() == paths.lock() {
        return Ok(taken);
    }
    let is_held = InstanceLock::is_held(&paths.lock()).map_err(FindError::Lock)?;
    Ok(taken.filter(|_| !is_held))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::broker::service::scratch::ScratchService;
    #[cfg(unix)]
    use crate::sys::ProcessHandle;

    /// Returns the explanation for a lock that `holder` holds, after a start of process 7 came to `stage`.
    fn explained(holder: &LockHolder, stage: Stage, age: Duration) -> (&'static str, Option<u32>) {
        let began = SystemTime::now().checked_sub(age);
        let history = History { began, stage, process: Some((7, 1)), ..History::default() };
        match explain(holder, &history, None, Duration::from_mins(1)) {
            Explanation::Starts { by } => ("starts", by),
            Explanation::Drains { pid } => ("drains", pid),
            Explanation::None => ("orphan", None),
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_note_names_the_successor_where_the_system_does_not_name_holders() {
        let ScratchService { paths, .. } = &ScratchService::new("succession");
        let replacing = InstanceLock::try_take(&paths.replacing()).unwrap().unwrap();
        assert!(succession(paths, &LockHolder::Unknown).unwrap().is_none());
        let pid = std::process::id();
        abandoned::note(&replacing, &ProcessHandle::open(pid).unwrap().unwrap()).unwrap();
        let found = succession(paths, &LockHolder::Unknown).unwrap();
        assert!(matches!(found, Some(ServiceState::Starting { by: Some(by), .. }) if by == pid));
    }

    #[test]
    fn the_holder_and_the_history_explain_a_lock_that_no_daemon_shows() {
        let (passed, taken) = (LockHolder::Inherited { pids: vec![7] }, LockHolder::Owner { pid: 7 });
        let (orphan, starter) = (LockHolder::Inherited { pids: vec![8] }, LockHolder::Owner { pid: 8 });
        let (young, old) = (Duration::ZERO, Duration::from_hours(1));
        for daemon in [&passed, &taken] {
            assert_eq!(explained(daemon, Stage::Starting, old), ("starts", Some(7)), "{daemon:?}");
            assert_eq!(explained(daemon, Stage::Served, old), ("drains", Some(7)), "{daemon:?}");
        }
        for stage in [Stage::Starting, Stage::Served, Stage::Over] {
            assert_eq!(explained(&starter, stage, old), ("starts", Some(8)), "{stage:?}");
        }
        assert_eq!(explained(&orphan, Stage::Starting, young), ("starts", Some(8)));
        assert_eq!(explained(&orphan, Stage::Starting, old), ("orphan", None));
        assert_eq!(explained(&orphan, Stage::Served, young), ("orphan", None));
        assert_eq!(explained(&LockHolder::Unknown, Stage::Served, young), ("orphan", None));
    }

    #[cfg(unix)]
    #[test]
    fn the_process_that_holds_both_locks_is_becoming_the_daemon() {
        let ScratchService { paths, .. } = &ScratchService::new("both");
        let pid = std::process::id();
        let holder = LockHolder::Owner { pid };
        assert!(succession(paths, &holder).unwrap().is_none(), "no process replaces the daemon");
        let replacing = Replacing::try_take(paths).unwrap().unwrap();
        let becomes = |found| matches!(found, Some(ServiceState::Starting { by: Some(by), .. }) if by == pid);
        // Its own announcement tells a process nothing about another one.
        for other in [LockHolder::Unknown, LockHolder::Inherited { pids: vec![] }] {
            let found = succession(paths, &other).unwrap();
            assert!(found.is_none(), "{other:?}: {found:?}");
        }
        if cfg!(target_os = "linux") {
            assert!(becomes(succession(paths, &holder).unwrap()));
            assert!(succession(paths, &LockHolder::Owner { pid: 0 }).unwrap().is_none());
        }
        replacing.end(true);
    }

    #[cfg(unix)]
    #[test]
    fn another_process_in_the_place_of_the_daemon_is_told_after_three_looks() {
        use crate::broker::backend_lifecycle::identity_file::write_daemon_identity_file;
        use crate::broker::protocol::Endpoint;
        use std::io::Write;
        use std::os::unix::net::{UnixListener, UnixStream};

        let ScratchService { service, paths, .. } = &ScratchService::new("looked-at");
        let socket = paths.socket().unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let endpoint = Endpoint::unix_socket("looked-at", socket.to_str().unwrap()).unwrap();
        let daemon = DaemonProcess::current_process(endpoint, None).unwrap();
        write_daemon_identity_file(&paths.identity_file(), &daemon).unwrap();
        let answering = thread::spawn(move || {
            let mut asked = 0;
            for stream in listener.incoming() {
                // The last connection is that of the test, which sends nothing.
                let (mut stream, mut request) = (stream.unwrap(), [0]);
                if io::Read::read(&mut stream, &mut request).unwrap() == 0 {
                    break;
                }
                stream.write_all(b"this is no frame at all").unwrap();
                asked += 1;
            }
            asked
        });
        let found = service.find(Instant::now() + Duration::from_mins(1)).unwrap();
        assert!(matches!(found, ServiceState::Impostor(_)), "{found:?}");
        drop(UnixStream::connect(&socket).unwrap());
        assert_eq!(answering.join().unwrap(), DOUBTS);
    }

    #[cfg(unix)]
    #[test]
    fn a_daemon_that_ends_the_connection_is_busy_and_an_error_of_this_process_is_told() {
        use crate::broker::protocol::Endpoint;
        let endpoint = Endpoint::unix_socket("judged", "/none").unwrap();
        let daemon = DaemonProcess::current_process(endpoint, None).unwrap();
        let judged = |kind: io::ErrorKind| judge(ProbeError::Stream(kind.into()), &daemon);
        for ended in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof]
        {
            let look = judged(ended);
            assert!(matches!(look, Ok(Look::Busy { pid }) if pid == daemon.pid), "{ended}");
        }
        let look = judged(io::ErrorKind::OutOfMemory);
        assert!(matches!(look, Err(FindError::Probe(ProbeError::Stream(_)))));
    }
}
