//! The replacement of a service's daemon by the next one.

use super::replacement::Replacement;
use super::replacement_step::{ReplacementStep, StopReason};
use super::replacing::Replacing;
use super::succeed::{Succeeded, hands_over, succeed};
use crate::broker::backend_handle::BackendHandle;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::service::activation::manager::Activation;
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::{Service, is_program};
use crate::broker::service::find::{Look, ORPHAN_GRACE};
use crate::broker::service::find_error::FindError;
use crate::broker::service::history::{StartEnd, StartFailure};
use crate::broker::service::paths::ServicePaths;
use crate::broker::service::start::command::{Command, CommandError};
use crate::broker::service::start::ensure::{Starter, Wait};
use crate::broker::service::start::ensure_error::{EnsureError, ReplaceError};
use crate::broker::service::start::supervise::StartEvent;
use crate::broker::service::stop::recorded;
use crate::sys::ProcessHandle;
use std::time::{Duration, Instant};

/// Time for which a daemon that did not prove itself is looked at again before it is stopped.
const BUSY_GRACE: Duration = Duration::from_secs(1);

/// The daemon that [`Service::restart`] returns.
#[derive(Debug)]
#[non_exhaustive]
pub struct Replaced {
    /// The daemon that serves now, proven.
    pub daemon: BackendHandle,
    /// The process of the daemon before it; `None` if none ran.
    pub former_pid: Option<u32>,
    /// The way in which that was replaced; `None` if none ran.
    pub by: Option<Replacement>,
    /// This call started the daemon: another process, such as a service manager, may have been faster.
    pub is_new: bool,
}

impl Service {
    /// Replaces the daemon of the service by a new one, which the service's command starts, and returns once that is proven.
    /// Starts one if none runs. Calls `steps` with each step as it happens, on this thread.
    ///
    /// The daemon that runs hands its endpoint over to the new one, and serves until that does: no client is refused. A daemon
    /// that cannot is stopped first, as by [`Replacement::StopThenStart`]; a step tells why. If several processes restart a
    /// service, they do it one after the other. If the deadline passes first, a process that was started goes on.
    ///
    /// # Errors
    ///
    /// [`ReplaceError`] says what failed, and whether a daemon runs. Before anything is changed, it is certain that the service has
    /// a command and that its program is there.
    pub fn restart(
        &self,
        deadline: impl Into<Deadline>,
        steps: &mut dyn FnMut(&ReplacementStep),
    ) -> Result<Replaced, ReplaceError> {
        self.restart_by(self.upgrade_policy.replacement(), deadline, steps)
    }

    /// Replaces the daemon as [`restart`](Self::restart) does, in the way `by`.
    ///
    /// # Errors
    ///
    /// As [`restart`](Self::restart).
    pub fn restart_by(
        &self,
        by: Replacement,
        deadline: impl Into<Deadline>,
        steps: &mut dyn FnMut(&ReplacementStep),
    ) -> Result<Replaced, ReplaceError> {
        let deadline = deadline.into();
        let paths = ServicePaths::of(self).map_err(FindError::from)?;
        self.can_be_replaced(&paths, by)?;
        let mut waits = |by| steps(&ReplacementStep::Waits { by });
        let Some(replacing) = Replacing::take(&paths, self.start_timeout, deadline, &mut waits)? else {
            return Err(ReplaceError::TimedOut { by: Replacing::holder(&paths) });
        };
        let mut coordinator = Coordinator {
            service: self,
            paths: &paths,
            replacing: &replacing,
            by,
            deadline,
            steps,
            former: None,
        };
        let replaced = coordinator.run();
        replacing.end(replaced.is_ok());
        replaced
    }

    /// Replaces the daemon `found`, which was proven, if the policy of upgrades still decides so, and records it. Returns the next
    /// daemon; `None` if the service is to be looked at again, because another process has replaced the daemon, or it has ended.
    pub(in crate::broker::service) fn replace(
        &self,
        paths: &ServicePaths,
        found: &DaemonProcess,
        deadline: Deadline,
    ) -> Result<Option<BackendHandle>, ReplaceError> {
        let by = self.upgrade_policy.replacement();
        self.can_be_replaced(paths, by)?;
        let mut has_waited = false;
        let Some(replacing) =
            Replacing::take(paths, self.start_timeout, deadline, &mut |_| has_waited = true)?
        else {
            return Err(ReplaceError::TimedOut { by: Replacing::holder(paths) });
        };
        if has_waited {
            return Ok(None);
        }
        // Another process may have replaced it until the lock was taken, or have tried to.
        let upgrade = self.upgrade(paths, found);
        if !upgrade.is_replacement() {
            return Ok(None);
        }
        let daemon = match self.look_once(paths, deadline)? {
            Look::Live(daemon) if daemon.daemon_process == *found => *daemon,
            _ => return Ok(None),
        };
        let steps = &mut |_: &ReplacementStep| {};
        let mut coordinator =
            Coordinator { service: self, paths, replacing: &replacing, by, deadline, steps, former: None };
        let replaced = match coordinator.replace(daemon) {
            Ok(Some(replaced)) => Ok(replaced),
            Ok(None) => coordinator.run(),
            Err(error) => Err(error),
        };
        upgrade.record(paths, replaced.as_ref().ok().map(|replaced| &replaced.daemon.daemon_process));
        replacing.end(replaced.is_ok());
        replaced.map(|replaced| Some(replaced.daemon))
    }

    /// Verifies that the system has the way `by`, and that the next daemon can be started.
    fn can_be_replaced(&self, paths: &ServicePaths, by: Replacement) -> Result<(), ReplaceError> {
        if by == Replacement::Handover && cfg!(not(unix)) {
            return Err(ReplaceError::NoHandover);
        }
        paths.make().map_err(FindError::from)?;
        if Activation::read(paths)?.is_some() {
            // The service manager has the command.
            return Ok(());
        }
        self.can_start(paths).map_err(|source| ReplaceError::NotStarted { former_pid: None, source })
    }

    /// Verifies that the service has a command, and that its program is there.
    fn can_start(&self, paths: &ServicePaths) -> Result<(), EnsureError> {
        if is_disabled() {
            return Err(FindError::Probe(ProbeError::Disabled).into());
        }
        let error = match Command::of(self, paths) {
            Ok(command) if is_program(&command.program) => return Ok(()),
            Ok(command) => format!("{} is no executable file", command.program.display()),
            Err(CommandError::NotRun(error)) => error,
            Err(CommandError::Unknown(error)) => return Err(error),
        };
        let end = StartEnd::NotRun { error };
        Err(EnsureError::StartFailed(StartFailure { end, log: String::new() }))
    }
}

/// The process that replaces the daemon.
struct Coordinator<'a> {
    service: &'a Service,
    paths: &'a ServicePaths,
    replacing: &'a Replacing,
    by: Replacement,
    deadline: Deadline,
    steps: &'a mut dyn FnMut(&ReplacementStep),
    /// The daemon that was replaced, once it has ended.
    former: Option<u32>,
}

impl Coordinator<'_> {
    fn run(&mut self) -> Result<Replaced, ReplaceError> {
        let (mut wait, mut busy) = (Wait::of_coordinator(self.deadline), None);
        loop {
            let look = self.service.look_once(self.paths, self.deadline)?;
            // The process that was found busy, since the first look that found it so.
            busy = match (&look, busy) {
                (Look::Busy { pid }, Some((same, since))) if *pid == same => Some((same, since)),
                (Look::Busy { pid }, _) => Some((*pid, Instant::now())),
                _ => None,
            };
            match look {
                Look::Live(daemon) if self.former.is_some() || wait.has_activated => {
                    return Ok(self.replaced(*daemon, Replacement::StopThenStart, wait.has_activated));
                }
                Look::Live(daemon) => {
                    if let Some(replaced) = self.replace(*daemon)? {
                        return Ok(replaced);
                    }
                }
                Look::Busy { pid } => match recorded(self.paths, pid)? {
                    Some(process)
                        if self.former.is_none() && busy.is_some_and(|(_, since)| self.is_hung(since)) =>
                    {
                        self.stop(&process, None, StopReason::Busy)?;
                    }
                    _ => wait.pause("busy", || Some(format!("process {pid}"))).map_err(self.not_started())?,
                },
                Look::Impostor(error) | Look::NotInspectable(error) => {
                    return Err(ReplaceError::NotProven(error));
                }
                Look::NotServed { .. } => {
                    if let Some(daemon) = self.start(&mut wait)? {
                        return Ok(self.replaced(*daemon, Replacement::StopThenStart, true));
                    }
                }
            }
        }
    }

    /// Returns whether a daemon that has been busy `since` then is not waited for any longer. One that serves can be busy for a
    /// moment: the process before it may have closed a connection that it accepted last.
    fn is_hung(&self, since: Instant) -> bool {
        since.elapsed() >= BUSY_GRACE || self.deadline.has_passed()
    }

    fn replaced(&mut self, daemon: BackendHandle, by: Replacement, is_new: bool) -> Replaced {
        let (pid, version) = (daemon.daemon_process.pid, version(&daemon));
        (self.steps)(&ReplacementStep::Serves { pid, version });
        Replaced { daemon, former_pid: self.former, by: self.former.map(|_| by), is_new }
    }

    /// Replaces the daemon by a successor that has its endpoint, and returns that; or stops the daemon and returns `None`.
    fn replace(&mut self, daemon: BackendHandle) -> Result<Option<Replaced>, ReplaceError> {
        let version = version(&daemon);
        let process = daemon.into_process();
        let reason = match self.by {
            Replacement::StopThenStart => Some(StopReason::Asked),
            Replacement::Handover => {
                let is_activated = Activation::read(self.paths)?.is_some();
                let reason = if is_activated { StopReason::Activated } else { StopReason::NoHandover };
                (!hands_over(self.paths, process.pid())).then_some(reason)
            }
        };
        match reason {
            Some(reason) => self.stop(&process, version, reason).map(|()| None),
            None => self.hand_over(&process, version),
        }
    }

    /// Starts the successor of the daemon, and returns it once it is proven; `None` if the daemon has ended meanwhile and the
    /// successor has not taken its place.
    fn hand_over(
        &mut self,
        process: &ProcessHandle,
        version: Option<String>,
    ) -> Result<Option<Replaced>, ReplaceError> {
        let pid = process.pid();
        (self.steps)(&ReplacementStep::HandsOver { pid, version });
        let mut events = tell(self.steps);
        let succeeded =
            succeed(self.service, self.paths, self.replacing.lock(), pid, self.deadline, &mut events);
        drop(events);
        match succeeded.map_err(|source| ReplaceError::NotReady { pid, source })? {
            Succeeded::Serves(daemon) => {
                self.former = Some(pid);
                let replaced = self.replaced(*daemon, Replacement::Handover, true);
                (self.steps)(&ReplacementStep::Drains { pid });
                return Ok(Some(replaced));
            }
            Succeeded::Failed(failure) if self.serves_on(process)? => {
                return Err(ReplaceError::NotHandedOver { pid, failure });
            }
            Succeeded::Failed(_) | Succeeded::Other => {}
        }
        (self.steps)(&ReplacementStep::Lost { pid });
        self.former = Some(pid);
        Ok(None)
    }

    /// Returns whether the daemon serves. One that drains does not, and is waited for later; one that cannot be proven does, unless it
    /// ends within a moment: its sockets are gone before its process is.
    fn serves_on(&self, process: &ProcessHandle) -> Result<bool, ReplaceError> {
        let look = || self.service.look_once(self.paths, self.deadline);
        if matches!(look()?, Look::Live(daemon) if daemon.daemon_process.pid == process.pid()) {
            return Ok(true);
        }
        let has_ended = process.wait_exit(Some(self.deadline.within(ORPHAN_GRACE)));
        if has_ended.map_err(EnsureError::Process).map_err(self.not_started())? {
            return Ok(false);
        }
        Ok(match look()? {
            Look::NotServed { .. } => false,
            Look::Live(daemon) => daemon.daemon_process.pid == process.pid(),
            Look::Busy { pid } => pid == process.pid(),
            Look::Impostor(_) | Look::NotInspectable(_) => true,
        })
    }

    /// Stops the daemon. Its lock is free then, and no client takes it to start another one.
    fn stop(
        &mut self,
        process: &ProcessHandle,
        version: Option<String>,
        reason: StopReason,
    ) -> Result<(), ReplaceError> {
        let pid = process.pid();
        (self.steps)(&ReplacementStep::Stops { pid, version, reason });
        let stopped = self.service.end_for_successor(process, self.paths, self.deadline)?;
        (self.steps)(&ReplacementStep::Stopped(stopped));
        self.former = Some(pid);
        Ok(())
    }

    /// Starts the daemon, or waits a little for the process that does. Returns the daemon if this process started it;
    /// `None` if the service is to be looked at again.
    fn start(&mut self, wait: &mut Wait) -> Result<Option<Box<BackendHandle>>, ReplaceError> {
        if wait.for_activation(self.service, self.paths).map_err(self.not_started())? {
            return Ok(None);
        }
        let started =
            self.service.start_unless_started(self.paths, wait, Starter::Coordinator, &mut tell(self.steps));
        started.map_err(self.not_started())
    }

    fn not_started(&self) -> impl Fn(EnsureError) -> ReplaceError + use<> {
        let former_pid = self.former;
        move |source| ReplaceError::NotStarted { former_pid, source }
    }
}

fn version(daemon: &BackendHandle) -> Option<String> {
    daemon.daemon_process.version().map(str::to_owned)
}

/// Returns a function that tells the events of a start as steps.
fn tell(steps: &mut dyn FnMut(&ReplacementStep)) -> impl FnMut(StartEvent<'_>) {
    |event| match event {
        StartEvent::Runs { process } => steps(&ReplacementStep::Runs { pid: process.pid() }),
        StartEvent::Status(text) => steps(&ReplacementStep::Status { text: text.to_owned() }),
    }
}
