//! The daemon that runs, or a new one.

use super::ends_with::{self, EndsWith};
use super::ensure_error::{EnsureError, ReplaceError};
use super::launch::{self, Outcome};
use super::supervise::StartEvent;
use crate::broker::backend_handle::BackendHandle;
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::service::activation::manager::Activation;
use crate::broker::service::activation::request::{ActivationEvent, ActivationRequest};
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::Service;
use crate::broker::service::find::{Look, ORPHAN_GRACE, is_held, stopped_process, take_start_lock};
use crate::broker::service::find_error::FindError;
use crate::broker::service::history::{History, StartFailure};
use crate::broker::service::interval::Interval;
use crate::broker::service::operation::OperationWait;
use crate::broker::service::paths::ServicePaths;
use crate::broker::service::replace::abandoned;
use crate::broker::service::replace::replacing::Replacing;
use crate::broker::service::state::{ServiceState, named};
use crate::broker::service::upgrade::Decision;
use crate::transport::ConnectError;
use std::thread;
use std::time::{Duration, Instant};

/// The first interval between two looks where the system reports no event.
const FIRST_INTERVAL: Interval = Interval::from(Duration::from_millis(1));
/// Daemons that one client starts and loses by a stop, or because they were idle, before it gives up.
const MOST_ENDED: u32 = 3;

/// The daemon that [`Service::start`] returns.
#[derive(Debug)]
pub struct Started {
    /// The daemon, proven.
    pub daemon: BackendHandle,
    /// This call started it, or had its service manager start it.
    pub is_new: bool,
    /// The decision by which this call replaced another daemon; `None` if it replaced none.
    pub replaced: Option<Decision>,
    /// Things whose end ends the daemon as well; empty if there are none that the system tells.
    pub ends_with: Vec<EndsWith>,
}

impl Service {
    /// Returns the daemon of the service, proven: the one that runs, or a new one, which is started exactly once however many
    /// processes ask.
    ///
    /// One process starts; the others wait for it without polling and get the same daemon, or the same failure. A daemon that
    /// is busy or drains is waited for. The daemon goes on if the deadline passes while it starts.
    ///
    /// A daemon that is older than the service's [version](Self::version) is replaced, as the service's
    /// [policy](Self::upgrade_policy) decides.
    ///
    /// # Errors
    ///
    /// [`EnsureError`] says why there is no daemon, or none of the version that is wanted.
    pub fn ensure(&self, deadline: impl Into<Deadline>) -> Result<BackendHandle, EnsureError> {
        self.ensure_daemon(deadline.into()).map(|ensured| ensured.daemon)
    }

    /// Returns the daemon as [`ensure`](Self::ensure) does, and tells whether this call started it, and what it will end with.
    ///
    /// # Errors
    ///
    /// As [`ensure`](Self::ensure).
    pub fn start(&self, deadline: impl Into<Deadline>) -> Result<Started, EnsureError> {
        let Ensured { daemon, is_new, replaced } = self.ensure_daemon(deadline.into())?;
        let ends_with = ends_with::of(daemon.process());
        Ok(Started { daemon, is_new, replaced, ends_with })
    }

    fn ensure_daemon(&self, deadline: Deadline) -> Result<Ensured, EnsureError> {
        let paths = ServicePaths::of(self)?;
        let mut wait = Wait::new(deadline);
        loop {
            match self.look(&paths, deadline)? {
                Look::Live(handle) => match self.upgraded(&paths, *handle, wait.has_activated, deadline)? {
                    Some(ensured) => return Ok(ensured),
                    None => wait.pause("live", || None)?,
                },
                Look::Impostor(error) => return Err(EnsureError::Impostor(error)),
                Look::NotInspectable(error) => return Err(EnsureError::NotInspectable(error)),
                Look::Busy { pid } => wait.pause("busy", || Some(busy(&paths, pid)))?,
                Look::NotServed { .. } => {
                    if wait.for_replacement(&paths)? || wait.for_activation(self, &paths)? {
                        continue;
                    }
                    if self.command.is_none() {
                        wait.without_command(self, &paths)?;
                        continue;
                    }
                    let found =
                        match self.start_unless_started(&paths, &mut wait, Starter::Client, &mut |_| {}) {
                            // The service manager has taken the socket in the middle of the start.
                            Err(EnsureError::StartFailed(_)) if wait.for_activation(self, &paths)? => {
                                continue;
                            }
                            found => found?,
                        };
                    if let Some(daemon) = found {
                        return Ok(Ensured::of(*daemon, true));
                    }
                }
            }
        }
    }

    /// Returns the daemon that was found, or its successor, as the policy of upgrades decides; `None` if the service is to be looked at
    /// again. `is_new` says of the former whether this call had it started.
    fn upgraded(
        &self,
        paths: &ServicePaths,
        found: BackendHandle,
        is_new: bool,
        deadline: Deadline,
    ) -> Result<Option<Ensured>, EnsureError> {
        if !self.wants_other(&found.daemon_process) {
            return Ok(Some(Ensured::of(found, is_new)));
        }
        match self.upgrade(paths, &found.daemon_process).decision {
            Decision::Keep { .. } => Ok(Some(Ensured::of(found, is_new))),
            Decision::Refuse { running, wanted, reason } => {
                Err(EnsureError::ReplacementRefused { running, wanted, reason: Box::new(reason) })
            }
            Decision::Replace { running, wanted, reason } => {
                match self.replace(paths, &found.into_identity(), deadline) {
                    Ok(successor) => Ok(successor.map(|daemon| {
                        let replaced = Some(Decision::Replace { running, wanted, reason });
                        Ensured { daemon, is_new: true, replaced }
                    })),
                    // It was tried by another process, and nothing has failed yet.
                    Err(ReplaceError::TimedOut { by }) => {
                        let detail = Some(format!("{} replaces it", named(by)));
                        Err(EnsureError::TimedOut { state: "live", detail })
                    }
                    Err(source) => {
                        Err(EnsureError::ReplacementFailed { running, wanted, source: Box::new(source) })
                    }
                }
            }
        }
    }

    /// Starts the daemon, which was not found, or waits a little for the process that does. Returns the daemon if this call started it;
    /// `None` if the service is to be looked at again.
    pub(in crate::broker::service) fn start_unless_started(
        &self,
        paths: &ServicePaths,
        wait: &mut Wait,
        starter: Starter,
        events: &mut dyn FnMut(StartEvent<'_>),
    ) -> Result<Option<Box<BackendHandle>>, EnsureError> {
        if is_disabled() {
            // It could not be used.
            return Err(FindError::Probe(ProbeError::Disabled).into());
        }
        paths.make()?;
        let Some(lock) = take_start_lock(paths)? else {
            wait.for_holder(self, paths)?;
            return Ok(None);
        };
        // The process that replaces the daemon has stopped it and starts the next one.
        if starter == Starter::Client && Replacing::is_held(paths)? {
            lock.release();
            wait.for_successor(self, paths)?;
            return Ok(None);
        }
        wait.failure(paths)?;
        match launch::start(self, paths, lock, wait.deadline, events)? {
            Outcome::Started(daemon) => return Ok(Some(daemon)),
            Outcome::Ended(failure) => wait.ended(failure)?,
            Outcome::Unknown => wait.pause("starting", || None)?,
        }
        Ok(None)
    }
}

/// Names the process of a daemon that does not answer.
fn busy(paths: &ServicePaths, pid: u32) -> String {
    let is_stopped = stopped_process(paths) == Some(pid);
    format!("process {pid}{}", if is_stopped { ", which is stopped by a signal" } else { "" })
}

/// The daemon of a service, and how the call came by it.
struct Ensured {
    daemon: BackendHandle,
    /// This call started it.
    is_new: bool,
    /// The decision by which this call replaced another daemon.
    replaced: Option<Decision>,
}

impl Ensured {
    fn of(daemon: BackendHandle, is_new: bool) -> Self {
        Self { daemon, is_new, replaced: None }
    }
}

/// The process that wants to start a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker::service) enum Starter {
    /// It starts one unless another process replaces the daemon.
    Client,
    /// It holds the lock `replacing`.
    Coordinator,
}

/// The wait of one client.
pub(in crate::broker::service) struct Wait {
    deadline: Deadline,
    interval: Interval,
    /// The number of the first start that this client has waited for.
    awaited: Option<u64>,
    /// Fails with the start of another process that it has waited for.
    shares_failures: bool,
    /// When the lock was first seen held although no daemon serves and no operation is announced.
    unexplained_since: Option<Instant>,
    /// Daemons that this client has started, and that ended as they should before they were proven.
    ended: u32,
    /// This client has had the service manager start the daemon.
    pub(in crate::broker::service) has_activated: bool,
}

impl Wait {
    pub(in crate::broker::service) fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            interval: FIRST_INTERVAL,
            awaited: None,
            shares_failures: true,
            unexplained_since: None,
            ended: 0,
            has_activated: false,
        }
    }

    /// Returns the wait of a client that starts its own daemon, also if the start of another one has failed.
    pub(in crate::broker::service) fn of_coordinator(deadline: Deadline) -> Self {
        Self { shares_failures: false, ..Self::new(deadline) }
    }

    /// Waits until the process that replaces the daemon has done so, and returns whether there was one. A successor that failed
    /// to start is no failure of this client: it starts its own daemon then.
    fn for_replacement(&mut self, paths: &ServicePaths) -> Result<bool, EnsureError> {
        let Some(replacement) = OperationWait::at(&paths.replacing_announced()) else { return Ok(false) };
        if replacement.ends(self.deadline) {
            (self.interval, self.unexplained_since) = (FIRST_INTERVAL, None);
            return Ok(true);
        }
        let detail = replacement.process().map(|pid| format!("process {pid}"));
        Err(EnsureError::TimedOut { state: "starting", detail })
    }

    /// Connects to the service manager's socket, so that it starts the daemon, and waits until that serves. Returns `false` if no
    /// process listens there; otherwise no client starts a daemon of its own.
    pub(in crate::broker::service) fn for_activation(
        &mut self,
        service: &Service,
        paths: &ServicePaths,
    ) -> Result<bool, EnsureError> {
        let Some(activation) = Activation::read(paths)?.filter(|_| !is_disabled()) else { return Ok(false) };
        let request = match ActivationRequest::send(paths, self.deadline) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(false),
            Err(FindError::Probe(ProbeError::Connect(ConnectError::BacklogFull { .. }))) => {
                return self.pause("starting", || Some(activation.to_string())).map(|()| true);
            }
            Err(error) => return Err(error.into()),
        };
        self.has_activated = true;
        loop {
            match request.wait(self.deadline.within(ORPHAN_GRACE)) {
                ActivationEvent::Answered => return Ok(true),
                ActivationEvent::Closed => {
                    return self.pause("starting", || Some(activation.to_string())).map(|()| true);
                }
                ActivationEvent::TimedOut => match service.state(paths, self.deadline)? {
                    ServiceState::HeldByOrphan { pid } => return Err(EnsureError::HeldByOrphan { pid }),
                    ServiceState::Live(_) => return Ok(true),
                    _ if self.deadline.has_passed() => {
                        let detail = Some(format!("{activation} starts it"));
                        return Err(EnsureError::TimedOut { state: "starting", detail });
                    }
                    _ => {}
                },
            }
        }
    }

    /// Waits until the process that starts or drains the daemon has done so.
    fn for_holder(&mut self, service: &Service, paths: &ServicePaths) -> Result<(), EnsureError> {
        for (path, state) in [(paths.starting(), "starting"), (paths.draining(), "draining")] {
            let Some(waiting) = OperationWait::at(&path) else { continue };
            if state == "starting" {
                self.awaits(paths);
            }
            if !waiting.ends(self.deadline) {
                let detail = waiting.process().map(|pid| format!("process {pid}"));
                return Err(EnsureError::TimedOut { state, detail });
            }
            (self.interval, self.unexplained_since) = (FIRST_INTERVAL, None);
            return self.failure(paths);
        }
        if cfg!(not(unix)) {
            self.awaits(paths);
        }
        // To ask for the holder of the lock is dear, and the daemon or its starter shows itself soon.
        let since = *self.unexplained_since.get_or_insert_with(Instant::now);
        if since.elapsed() < ORPHAN_GRACE {
            let pid = || History::read(paths).process.map(|(pid, _)| format!("process {pid}"));
            return self.pause("starting", pid);
        }
        self.unexplained_since = None;
        match service.state(paths, self.deadline)? {
            ServiceState::HeldByOrphan { pid } => Err(EnsureError::HeldByOrphan { pid }),
            state => self.pause(state.name(), || state.pid().map(|pid| format!("process {pid}"))),
        }
    }

    /// Waits a little for the process that has the lock `replacing`, although no process holds that of the daemon.
    fn for_successor(&mut self, service: &Service, paths: &ServicePaths) -> Result<(), EnsureError> {
        abandoned::end_hanging(paths, service.start_timeout)?;
        let since = *self.unexplained_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= ORPHAN_GRACE {
            self.unexplained_since = None;
            if let Some(orphan) = abandoned::orphan(paths)? {
                return Err(EnsureError::HeldByOrphan { pid: orphan.pid() });
            }
        }
        self.pause("starting", || None)
    }

    /// Lets the client start the next daemon, unless that many in a row have ended that it is no coincidence.
    fn ended(&mut self, failure: StartFailure) -> Result<(), EnsureError> {
        self.ended += 1;
        if self.ended > MOST_ENDED {
            Err(EnsureError::StartFailed(failure))
        } else {
            self.pause("starting", || None)
        }
    }

    /// Notes which start this client waits for. It was recorded before others could see it.
    fn awaits(&mut self, paths: &ServicePaths) {
        if self.shares_failures {
            self.awaited.get_or_insert_with(|| History::read(paths).start);
        }
    }

    /// Returns the failure of the start that this client has waited for, if it has failed.
    fn failure(&self, paths: &ServicePaths) -> Result<(), EnsureError> {
        let Some(awaited) = self.awaited else { return Ok(()) };
        match History::read(paths).failure_since(awaited) {
            Some(failure) => Err(EnsureError::StartFailed(failure.clone())),
            None => Ok(()),
        }
    }

    /// Waits for a daemon that this client cannot start, as long as another process starts or ends one.
    fn without_command(&mut self, service: &Service, paths: &ServicePaths) -> Result<(), EnsureError> {
        if is_held(paths)? {
            self.for_holder(service, paths)
        } else if Replacing::is_held(paths)? {
            self.for_successor(service, paths)
        } else {
            Err(EnsureError::NoCommand)
        }
    }

    /// Pauses for the next interval, which is twice as long as the last one.
    pub(in crate::broker::service) fn pause(
        &mut self,
        state: &'static str,
        detail: impl FnOnce() -> Option<String>,
    ) -> Result<(), EnsureError> {
        if self.deadline.has_passed() {
            return Err(EnsureError::TimedOut { state, detail: detail() });
        }
        let interval = self.interval.next();
        thread::sleep(self.deadline.left().unwrap_or(interval).min(interval));
        Ok(())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::broker::service::history::StartEnd;
    use crate::broker::service::operation::Operation;
    use crate::broker::service::scratch::{ScratchService, released};
    use crate::transport::InstanceLock;
    use std::path::PathBuf;
    use std::time::SystemTime;

    /// Announces an operation at `path`, and once `wait` waits for it records that the start failed, and ends the operation.
    fn during<T: Send>(paths: &ServicePaths, path: PathBuf, wait: impl FnOnce() -> T + Send) -> T {
        let mut history = History::default();
        history.begin(SystemTime::now());
        history.write(paths).unwrap();
        let operation = Operation::announce(path).unwrap();
        released(wait, || {
            operation.await_waiter();
            let failure = StartFailure { end: StartEnd::Exited { status: 3 }, log: String::new() };
            history.failed(failure, SystemTime::now());
            history.write(paths).unwrap();
            operation.withdraw();
            drop(operation);
        })
    }

    #[test]
    fn clients_share_the_failure_of_the_start_that_they_waited_for() {
        let ScratchService { service, paths, .. } = &ScratchService::new("awaited");
        let soon = || Deadline::after(Duration::from_mins(1));
        let waited = |mut wait: Wait, path| during(paths, path, || wait.for_holder(service, paths));
        let failed = waited(Wait::new(soon()), paths.starting());
        assert!(matches!(failed, Err(EnsureError::StartFailed(_))), "{failed:?}");
        // A drain is no start, and the process that replaces daemons starts one of its own.
        waited(Wait::new(soon()), paths.draining()).unwrap();
        waited(Wait::of_coordinator(soon()), paths.starting()).unwrap();
    }

    #[test]
    fn a_client_waits_for_a_replacement_until_its_deadline() {
        let ScratchService { paths, .. } = &ScratchService::new("awaited");
        let mut wait = Wait::new(Deadline::after(Duration::from_mins(1)));
        assert!(!wait.for_replacement(paths).unwrap(), "there is none");
        let path = paths.replacing_announced();
        assert!(during(paths, path.clone(), || wait.for_replacement(paths)).unwrap());
        let replaces = Operation::announce(path).unwrap();
        let late = Wait::new(Deadline::after(Duration::ZERO)).for_replacement(paths).unwrap_err();
        let own = format!("process {}", std::process::id());
        assert!(
            matches!(&late, EnsureError::TimedOut { state: "starting", detail: Some(detail) } if *detail == own),
            "{late:?}"
        );
        replaces.withdraw();
    }

    #[test]
    fn the_holder_of_a_lock_is_asked_for_once_it_has_been_unexplained_for_a_while() {
        let ScratchService { service, paths, .. } = &ScratchService::new("awaited");
        let lock = InstanceLock::try_take(&paths.lock()).unwrap().unwrap();
        let told = |since: Option<Instant>| {
            let mut wait = Wait { unexplained_since: since, ..Wait::new(Deadline::after(Duration::ZERO)) };
            match wait.for_holder(service, paths) {
                Err(EnsureError::TimedOut { detail, .. }) => detail,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(None), None);
        let holder = format!("process {}", std::process::id());
        let expected = if cfg!(target_os = "linux") { Some(holder) } else { None };
        assert_eq!(told(Instant::now().checked_sub(2 * ORPHAN_GRACE)), expected);
        lock.release();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_orphan_of_a_replacement_is_told_once_its_lock_has_been_unexplained_for_a_while() {
        use std::process::{Command, Stdio};
        let ScratchService { service, paths, .. } = &ScratchService::new("awaited");
        let replacing = InstanceLock::try_take(&paths.replacing()).unwrap().unwrap();
        let (input, end) = std::io::pipe().unwrap();
        let copy = replacing.file().try_clone().unwrap();
        let mut orphan = Command::new("cat").stdin(input).stdout(copy).stderr(Stdio::null()).spawn().unwrap();
        drop(replacing);
        let waited = |since: Option<Instant>| {
            let mut wait = Wait { unexplained_since: since, ..Wait::new(Deadline::after(Duration::ZERO)) };
            wait.for_successor(service, paths).unwrap_err()
        };
        let early = waited(None);
        assert!(matches!(early, EnsureError::TimedOut { state: "starting", detail: None }), "{early:?}");
        let late = waited(Instant::now().checked_sub(2 * ORPHAN_GRACE));
        assert!(matches!(late, EnsureError::HeldByOrphan { .. }), "{late:?}");
        drop(end);
        orphan.wait().unwrap();
    }
}
