//! The process of a daemon, from its start until it is proven or has ended.

use super::command::{Command, CommandError};
use super::ensure_error::EnsureError;
use super::environment;
use super::progress::Progress;
use crate::broker::backend_handle::{BackendHandle, KILL_TIMEOUT};
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::Service;
use crate::broker::service::find::Look;
use crate::broker::service::history::StartEnd;
use crate::broker::service::interval::Interval;
use crate::broker::service::paths::ServicePaths;
use crate::sys::{self, NotifySocket, ProcessEnd, ProcessHandle, SpawnPlan, Spawned};
use crate::transport::InstanceLock;
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first interval between two looks at a daemon that reports nothing.
const FIRST_INTERVAL: Duration = Duration::from_millis(5);
/// Longest wait for the report of a successor that is proven. Before it the predecessor may not have let go.
const READY_TIMEOUT: Duration = Duration::from_secs(3);

/// A part of a start, told while the start goes on.
#[derive(Clone, Copy)]
pub(in crate::broker::service) enum StartEvent<'a> {
    /// The process of the daemon runs.
    Runs { process: &'a ProcessHandle },
    /// The daemon has reported its progress.
    Status(&'a str),
}

/// The start of one process.
pub(in crate::broker::service) struct Launch<'a> {
    pub(in crate::broker::service) service: &'a Service,
    pub(in crate::broker::service) paths: &'a ServicePaths,
    /// Becomes descriptor 3 of the process: the lock of the service, or `replacing` for a successor.
    pub(in crate::broker::service) lock: &'a InstanceLock,
    /// The process of the daemon that hands its endpoint over to this one.
    pub(in crate::broker::service) predecessor: Option<u32>,
    pub(in crate::broker::service) log: &'a File,
    pub(in crate::broker::service) deadline: Deadline,
}

impl Launch<'_> {
    /// Starts the program, tells `events`, and waits until the daemon is proven, has ended, or has been silent for too long. A
    /// successor has also reported that it is ready, if it does: from then on it can be replaced itself.
    pub(in crate::broker::service) fn run(
        &self,
        command: Result<Command, CommandError>,
        events: &mut dyn FnMut(StartEvent<'_>),
    ) -> Result<Supervised, EnsureError> {
        let command = match command {
            Ok(command) => command,
            Err(CommandError::NotRun(error)) => return Ok(Supervised::failed(StartEnd::NotRun { error })),
            Err(CommandError::Unknown(error)) => return Err(error),
        };
        let is_successor = self.predecessor.is_some();
        let notify = self.paths.notifications(is_successor);
        let reports = Reports::open(&notify).ok();
        let notify = reports.as_ref().map(|_| &*notify);
        let environment = environment::of(self.service, self.paths, notify, is_successor);
        let root = environment::default_directory();
        let plan = SpawnPlan {
            program: &command.program,
            arguments: &command.arguments,
            environment: &environment,
            directory: self.service.directory.as_deref().unwrap_or(&root),
            log: self.log,
            lock: Some(self.lock.file()),
        };
        match sys::spawn_detached(&plan) {
            Err(error) if sys::is_lost(&error) => Ok(Supervised::Lost),
            Err(error) => {
                Ok(Supervised::failed(StartEnd::NotRun { error: not_run(&command.program, &error) }))
            }
            Ok(mut spawned) => {
                events(StartEvent::Runs { process: spawned.process() });
                self.supervise(&mut spawned, reports.as_ref(), events)
            }
        }
    }

    fn supervise(
        &self,
        spawned: &mut Spawned,
        reports: Option<&Reports>,
        events: &mut dyn FnMut(StartEvent<'_>),
    ) -> Result<Supervised, EnsureError> {
        let mut progress = Waited::new(self.service.start_timeout);
        let mut interval = Interval::from(FIRST_INTERVAL);
        let mut proven: Option<(Box<BackendHandle>, Deadline)> = None;
        loop {
            let reported = reports.map(|reports| reports.take(spawned.pid())).unwrap_or_default();
            for report in reported {
                if let Some(status) = &report.status {
                    events(StartEvent::Status(status));
                }
                progress.note(report);
            }
            let look = || self.service.look_past(self.paths, self.predecessor, self.deadline);
            match proven.is_none().then(look).transpose()? {
                Some(Look::Live(handle)) => {
                    let timeout = if self.predecessor.is_some() { READY_TIMEOUT } else { Duration::ZERO };
                    proven = Some((handle, Deadline::after(timeout).earlier(self.deadline)));
                    progress.silent_at = Deadline::never();
                }
                // It serves, and is too slow to prove itself.
                Some(Look::Busy { .. }) => progress.silent_at = Deadline::never(),
                _ => {}
            }
            if let Some((handle, _)) = proven.take_if(|(_, by)| progress.is_ready || by.has_passed()) {
                return Ok(Supervised::Serves(handle));
            }
            let ready_by = proven.as_ref().map_or(Deadline::never(), |(_, by)| *by);
            if progress.silent_at.has_passed() {
                spawned.process().kill().map_err(EnsureError::Process)?;
                spawned.end(Deadline::after(KILL_TIMEOUT).instant()).map_err(EnsureError::Process)?;
                return Ok(Supervised::failed(StartEnd::Silent { status: progress.status }));
            }
            if self.deadline.has_passed() {
                let status = Some(progress.status).filter(|status| !status.is_empty());
                let detail = status.unwrap_or_else(|| format!("process {}", spawned.pid()));
                return Err(EnsureError::TimedOut { state: "starting", detail: Some(detail) });
            }
            let until = Deadline::after(interval.next())
                .earlier(progress.silent_at)
                .earlier(self.deadline)
                .earlier(ready_by);
            if let Some(end) = wait(spawned, reports, until).map_err(EnsureError::Process)? {
                // The last reports may have come with the end.
                let reported = reports.map(|reports| reports.take(spawned.pid())).unwrap_or_default();
                let is_ready = progress.is_ready || reported.iter().any(|report| report.ready);
                return Ok(Supervised::Ended { end, is_ready });
            }
        }
    }
}

/// Returns the message of `error` and of its causes, for the program that was to be run.
fn not_run(program: &Path, error: &io::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    causes.fold(program.display().to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The outcome of the wait for a daemon that was started.
pub(in crate::broker::service) enum Supervised {
    Serves(Box<BackendHandle>),
    /// The process between the client and the daemon was killed.
    Lost,
    /// The daemon has ended before it was proven.
    Ended {
        end: StartEnd,
        /// It had reported that it is ready.
        is_ready: bool,
    },
}

impl Supervised {
    fn failed(end: StartEnd) -> Self {
        Self::Ended { end, is_ready: false }
    }
}

/// The reports of a daemon that starts, as far as the wait for it depends on them.
struct Waited {
    start_timeout: Duration,
    /// The daemon has been silent for too long then; never once it says that it is ready.
    silent_at: Deadline,
    status: String,
    is_ready: bool,
}

impl Waited {
    fn new(start_timeout: Duration) -> Self {
        let silent_at = Deadline::after(start_timeout);
        Self { start_timeout, silent_at, status: String::new(), is_ready: false }
    }

    fn note(&mut self, report: Progress) {
        self.is_ready |= report.ready;
        self.silent_at = if self.is_ready {
            Deadline::never()
        } else {
            Deadline::after(report.extension.unwrap_or(self.start_timeout))
        };
        if let Some(status) = report.status {
            self.status = status;
        }
    }
}

/// Returns the end of the daemon, or `None` once it has reported something or `until` has passed.
#[cfg(unix)]
fn wait(spawned: &mut Spawned, reports: Option<&Reports>, until: Deadline) -> io::Result<Option<StartEnd>> {
    use rustix::event::{PollFd, PollFlags};
    let mut ready = vec![PollFd::new(&*spawned, PollFlags::IN)];
    ready.extend(reports.map(|reports| PollFd::new(&reports.socket, PollFlags::IN)));
    sys::wait_ready(&mut ready, until.instant())?;
    let has_ended = !ready[0].revents().is_empty();
    drop(ready);
    if has_ended { spawned.end(until.instant()).map(|end| end.map(start_end)) } else { Ok(None) }
}

/// Returns the end of the daemon, or `None` once `until` has passed.
#[cfg(not(unix))]
fn wait(spawned: &mut Spawned, _: Option<&Reports>, until: Deadline) -> io::Result<Option<StartEnd>> {
    spawned.end(until.instant()).map(|end| end.map(start_end))
}

fn start_end(end: ProcessEnd) -> StartEnd {
    match end {
        ProcessEnd::Exited(status) => StartEnd::Exited { status },
        ProcessEnd::Signaled { signal, .. } => StartEnd::Signaled { signal },
        ProcessEnd::Unknown => StartEnd::Ended,
    }
}

/// Returns whether the process is `daemon`, which was started, or belongs to its session, which it leads.
pub(in crate::broker::service) fn is_part_of(pid: u32, daemon: u32) -> bool {
    pid == daemon || sys::session_of(pid) == Some(daemon)
}

/// The socket for reports of the daemon. It is removed when this is dropped.
struct Reports {
    socket: NotifySocket,
    #[cfg_attr(windows, expect(dead_code, reason = "a pipe has no file to remove"))]
    path: PathBuf,
}

impl Reports {
    fn open(path: &Path) -> io::Result<Self> {
        // A pipe of Windows has no file.
        #[cfg(unix)]
        crate::broker::service::files::remove_if_present(path)?;
        Ok(Self { socket: NotifySocket::bind(path)?, path: path.to_owned() })
    }

    /// Returns the reports that have arrived from the process `daemon` or its session, which it leads.
    fn take(&self, daemon: u32) -> Vec<Progress> {
        let mut reports = Vec::new();
        while let Ok(Some(notification)) = self.socket.receive() {
            if notification.sender_pid.is_none_or(|pid| is_part_of(pid, daemon)) {
                reports.push(Progress::parse(&notification.text));
            }
        }
        reports
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        // It is in the directory of the service, whose lock this process holds. A pipe of Windows has no file.
        #[cfg(unix)]
        let _stale = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::broker::backend_lifecycle::identity::{DaemonProcess, Origin};
    use crate::broker::backend_lifecycle::identity_file::write_daemon_identity_file;
    use crate::broker::protocol::Endpoint;
    use crate::broker::service::scratch::ScratchService;
    use crate::broker::service::start::log;
    use std::time::Instant;

    #[test]
    fn a_silent_daemon_is_ended_unless_it_serves() {
        let ScratchService { service, paths, .. } = &ScratchService::new("silent");
        let service = &service.clone().command("sleep", ["60"]).start_timeout(Duration::ZERO);
        let lock = &InstanceLock::try_take(&paths.lock()).unwrap().unwrap();
        let log = &log::open(paths, service.log_limit).unwrap().0;
        // No process listens there, so the daemon cannot prove itself.
        let endpoint = Endpoint::unix_socket("silent", paths.socket_path().to_str().unwrap()).unwrap();
        let own = DaemonProcess::current_process(endpoint, None).unwrap();
        // Returns the outcome, and whether the daemon has ended by then.
        let started = |serves: bool, predecessor: Option<u32>| {
            let deadline = Deadline::after(Duration::from_secs(2));
            let launch = Launch { service, paths, lock, predecessor, log, deadline };
            let mut daemon = None;
            let supervised = launch.run(Command::of(service, paths), &mut |event| {
                let StartEvent::Runs { process } = event else { return };
                let mut identity = own.clone();
                if serves {
                    identity.pid = process.pid();
                    let start_time = process.start_time().unwrap();
                    identity.origin = identity.origin.map(|origin| Origin { start_time, ..origin });
                }
                write_daemon_identity_file(&paths.identity_file(), &identity).unwrap();
                daemon = ProcessHandle::open(process.pid()).unwrap();
            });
            let daemon = daemon.unwrap();
            let has_ended = daemon.wait_exit(Some(Instant::now())).unwrap();
            daemon.kill().unwrap();
            (supervised, has_ended)
        };
        let (late, has_ended) = started(true, None);
        assert!(matches!(late, Err(EnsureError::TimedOut { state: "starting", .. })), "it is only busy");
        assert!(!has_ended);
        let (silent, has_ended) = started(false, Some(own.pid));
        assert!(
            matches!(silent, Ok(Supervised::Ended { end: StartEnd::Silent { .. }, is_ready: false })),
            "the daemon that serves is its predecessor"
        );
        assert!(has_ended);
    }

    #[test]
    fn a_process_belongs_to_the_daemon_that_leads_its_session() {
        let own = std::process::id();
        // The leader may be in a pid namespace that this process does not see.
        assert!(sys::session_of(own).is_none_or(|leader| is_part_of(own, leader)));
        assert!(is_part_of(own, own));
        // There is no process of these ids.
        assert!(is_part_of(u32::MAX, u32::MAX));
        assert!(!is_part_of(own, u32::MAX) && !is_part_of(u32::MAX, own));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_reports_of_the_daemon_are_taken_and_those_of_other_processes_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let reports = Reports::open(&path).unwrap();
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let taken = |daemon: u32| {
            sender.send_to(b"READY=1", &path).unwrap();
            reports.take(daemon).len()
        };
        assert_eq!(taken(std::process::id()), 1);
        // No process has this number.
        assert_eq!(taken(i32::MAX.unsigned_abs()), 0);
    }

    #[test]
    fn the_socket_for_reports_is_removed_after_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        std::fs::write(&path, "left behind").unwrap();
        let reports = Reports::open(&path).unwrap();
        assert!(path.exists() && reports.take(std::process::id()).is_empty());
        drop(reports);
        assert!(!path.exists());
    }
}
