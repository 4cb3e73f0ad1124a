//! The facts about a service, gathered once: nothing here judges, starts or changes anything.

mod elsewhere;
mod file_system;
mod listing;
mod memo;
mod namespaces;
mod process;
mod program;
mod surroundings;

pub(crate) use elsewhere::{Elsewhere, IdentityFile};
pub(crate) use file_system::FileSystem;
pub(crate) use process::Process;
pub(crate) use program::TemporaryProgram;
pub(crate) use surroundings::Surroundings;

use super::finding::Finding;
use super::kinds::Kind;
use crate::commands::found::foreign_listener;
use crate::services::Selected;
use crate::text::safe;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{StepVerdict, verify_fronted};
use running_process::broker::backend_sdk::read_daemon_identity_file;
use running_process::broker::service::{
    Activation, Decision, EndsWith, Examination, FindError, PlaceError, ReplacingHolder, ServiceSocket,
    ServiceState,
};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::FileType;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// All that the checks know about a service.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) selected: Selected,
    pub(crate) state: Result<ServiceState, FindError>,
    pub(crate) examination: Result<Examination, PlaceError>,
    /// The identity file, if it can be used.
    pub(crate) identity: Option<DaemonProcess>,
    /// The identity file cannot be used, and owner and mode let this user read it.
    pub(crate) may_read_identity: bool,
    /// The reason why the daemon behind the front is not proven, if the daemon is a front that lives.
    pub(crate) fronted_fault: Option<String>,
    /// The decision of a client with the service's file about the daemon that runs.
    pub(crate) decision: Option<Decision>,
    pub(crate) ends_with: Vec<EndsWith>,
    /// The service manager that starts the daemon.
    pub(crate) activation: Result<Option<Activation>, FindError>,
    /// Some process listens at the path of the service's socket; `None` if the system does not tell.
    pub(crate) is_listened_at: Option<bool>,
    /// The process of the recorded daemon, if a signal or a debugger has stopped it.
    pub(crate) stopped: Option<u32>,
    /// The socket at the path of the service's, and no daemon is known that could have made it.
    pub(crate) foreign: Option<ServiceSocket>,
    /// There is something at the path of the socket in the identity file, or of the service's socket.
    pub(crate) has_socket: bool,
    /// The kind of what stands at the path of the socket and is none.
    pub(crate) not_a_socket: Option<&'static str>,
    /// The sockets are in another directory than the other files.
    pub(crate) sockets_are_apart: bool,
    /// The log, and the length of both of its files in bytes.
    pub(crate) log: Option<(PathBuf, u64)>,
    pub(crate) file_system: Option<FileSystem>,
    /// The service's file or its directory if others can write it, and the reason.
    pub(crate) writable_file: Option<(PathBuf, String)>,
    pub(crate) temporary_program: Option<TemporaryProgram>,
    /// Daemons of the service in other places.
    pub(crate) elsewhere: Vec<Elsewhere>,
    /// Daemons of the same name by identity files where programs without services keep them.
    pub(crate) identity_files: Vec<IdentityFile>,
    /// The namespaces and filters that keep this process from the daemon, as the end of a sentence, if its state cannot be told.
    pub(crate) barrier: String,
    processes: BTreeMap<u32, Process>,
}

impl Facts {
    /// Gathers the facts about a service that do not depend on sockets, until `deadline` at the latest.
    pub(crate) fn gather(selected: Selected, surroundings: &Surroundings, deadline: Instant) -> Self {
        let service = &selected.service;
        let state = service.find(deadline);
        let examination = service.examine();
        let (decision, ends_with) = match &state {
            Ok(ServiceState::Live(daemon)) => {
                (service.decide(&daemon.daemon_process).ok(), EndsWith::of_daemon(daemon))
            }
            _ => (None, Vec::new()),
        };
        let identity_file = service.identity_file().ok();
        let identity = match &state {
            Ok(ServiceState::Live(daemon)) => Some(daemon.daemon_process.clone()),
            Ok(ServiceState::Absent) => None,
            _ => identity_file.as_deref().and_then(read_daemon_identity_file),
        };
        let daemon = state.as_ref().ok().and_then(ServiceState::pid);
        let is_live = matches!(state, Ok(ServiceState::Live(_)));
        let lives = matches!(state, Ok(ServiceState::Live(_) | ServiceState::Busy { .. }));
        let front = identity.as_ref().filter(|_| lives);
        let may_be_stopped = identity.is_some() && !is_live;
        let mut facts = Self {
            fronted_fault: front.and_then(|front| fronted_fault(front, deadline)),
            activation: service.activation(),
            stopped: may_be_stopped.then(|| service.stopped_process()).flatten(),
            decision: decision.filter(|_| selected.file.is_some()),
            ends_with,
            log: service.log_file().ok().map(|log| (log.clone(), log_length(&log))),
            writable_file: selected
                .file
                .as_deref()
                .and_then(|file| program::writable(file, &surroundings.writable)),
            temporary_program: program::temporary(
                examination.as_ref().ok(),
                identity.as_ref().filter(|_| is_live),
                &surroundings.temporary,
            ),
            elsewhere: elsewhere::in_roots(service, daemon, &surroundings.roots, deadline),
            identity_files: elsewhere::identity_files(
                service,
                daemon,
                &surroundings.identity_files,
                deadline,
            ),
            may_read_identity: matches!(state, Err(FindError::IdentityFile { .. }))
                && identity_file.as_deref().is_some_and(may_read),
            is_listened_at: None,
            foreign: None,
            has_socket: false,
            not_a_socket: None,
            sockets_are_apart: false,
            file_system: None,
            barrier: String::new(),
            processes: BTreeMap::new(),
            identity,
            examination,
            state,
            selected,
        };
        facts.look_at_files();
        facts
    }

    /// Adds the facts that depend on `sockets`, all those of services, if the system lists them.
    pub(crate) fn with_sockets(mut self, sockets: Option<&[ServiceSocket]>, deadline: Instant) -> Self {
        let mut listener = None;
        if let (Ok(examination), Some(sockets)) = (&self.examination, sockets) {
            let service = &self.selected.service;
            let own = sockets.iter().find(|found| found.is_at(&examination.socket));
            self.is_listened_at = Some(own.is_some());
            listener = own.and_then(|socket| socket.owners.first()).map(|owner| owner.pid);
            if own.is_some() && self.has_no_daemon() {
                // A daemon may have begun to listen after the first look at the state. This one is after the list.
                let state = service.find(deadline);
                let foreign = state
                    .ok()
                    .and_then(|state| foreign_listener(service, &examination.socket, &state, sockets));
                self.foreign = foreign.cloned();
                // It may have been bound by another path to the same file.
                self.foreign.iter_mut().for_each(|foreign| foreign.path.clone_from(&examination.socket));
            }
            let (directory, daemon) = (&examination.directory, self.pid());
            let others =
                sockets.iter().filter_map(|socket| elsewhere::of_socket(service, directory, &socket.path));
            elsewhere::add(others, daemon, deadline, &mut self.elsewhere);
        }
        if matches!(self.state, Ok(ServiceState::NotInspectable(_)) | Err(_)) {
            self.barrier = namespaces::barrier(listener);
        }
        self.look_at_processes();
        self
    }

    /// Returns whether the service has no daemon, nor another process in its place.
    pub(crate) fn has_no_daemon(&self) -> bool {
        matches!(
            self.state,
            Ok(ServiceState::Absent | ServiceState::Stale { .. } | ServiceState::BackingOff { .. })
        )
    }

    fn look_at_files(&mut self) {
        let Ok(examination) = &self.examination else { return };
        self.file_system = file_system::of(&examination.directory);
        if cfg!(windows) {
            return;
        }
        self.sockets_are_apart = examination.socket.parent() != Some(&examination.directory);
        let own = examination.socket.symlink_metadata();
        self.not_a_socket = own.as_ref().ok().and_then(|found| other_kind(found.file_type()));
        let named = self.identity.as_ref().map(|identity| Path::new(&identity.ipc_endpoint.path));
        self.has_socket = named.map_or(own.is_ok(), |path| path.symlink_metadata().is_ok());
    }

    fn look_at_processes(&mut self) {
        // Nothing is told of the process of a daemon that serves.
        let of_state = self.pid().filter(|_| !matches!(self.state, Ok(ServiceState::Live(_))));
        let replacing =
            self.examination.as_ref().ok().and_then(|found| found.replacing.as_ref().ok()?.as_ref());
        let replacing = match replacing {
            Some(ReplacingHolder::Abandoned { pid }) => Some(*pid),
            Some(ReplacingHolder::Orphan { pid }) => *pid,
            _ => None,
        };
        let foreign = self.foreign.as_ref().and_then(|socket| socket.owners.first()).map(|owner| owner.pid);
        let pids = [of_state, replacing, self.impostor(), foreign, self.stopped];
        self.processes = pids.into_iter().flatten().map(|pid| (pid, Process::of(pid))).collect();
    }

    /// Creates a finding about this service.
    pub(crate) fn finding(&self, kind: &'static Kind, what: impl Display) -> Finding {
        Finding::new(kind, &self.selected.label, what)
    }

    /// Returns the directory of the service, or the one that keeps it from having any.
    pub(crate) fn directory(&self) -> &Path {
        match &self.examination {
            Ok(examination) => &examination.directory,
            Err(error) => &error.path,
        }
    }

    /// Returns the process of the state.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.state.as_ref().ok()?.pid()
    }

    /// Returns the process with its program, for people.
    pub(crate) fn process(&self, pid: u32) -> String {
        match self.processes.get(&pid).and_then(|process| process.program.as_ref()) {
            Some(program) => format!("process {pid} ({})", safe(program.display())),
            None => format!("process {pid}"),
        }
    }

    /// Returns what a person needs to judge the process, as the end of a sentence about it.
    pub(crate) fn details(&self, pid: u32) -> String {
        self.processes.get(&pid).map(Process::details).unwrap_or_default()
    }

    /// Returns the process in the place of the daemon, if there is one.
    pub(crate) fn impostor(&self) -> Option<u32> {
        match &self.state {
            Ok(ServiceState::Impostor(ProbeError::Impostor { pid, .. })) => Some(*pid),
            Ok(ServiceState::Impostor(_)) => self.identity.as_ref().map(|identity| identity.pid),
            _ => None,
        }
    }
}

/// Returns the reason why the daemon behind `front` is not proven, if it is a front.
fn fronted_fault(front: &DaemonProcess, deadline: Instant) -> Option<String> {
    let step = verify_fronted(front, deadline)?;
    (step.verdict == StepVerdict::Refused).then_some(step.evidence)
}

/// Returns whether the owner and the mode of a file let this user read it.
#[cfg(unix)]
fn may_read(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid();
    file.metadata()
        .is_ok_and(|found| own.is_root() || (found.uid() == own.as_raw() && found.mode() & 0o400 != 0))
}

#[cfg(not(unix))]
fn may_read(_: &Path) -> bool {
    false
}

/// Returns the length of the log and the one before it, in bytes.
fn log_length(log: &Path) -> u64 {
    let length = |path: &Path| path.symlink_metadata().map_or(0, |found| found.len());
    length(log) + length(&log.with_extension("1"))
}

/// Returns the name of a kind of file that is not a socket.
#[cfg_attr(not(unix), allow(clippy::unnecessary_wraps, reason = "sockets are files on Unix alone"))]
fn other_kind(kind: FileType) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_socket() {
            return None;
        } else if kind.is_fifo() {
            return Some("a FIFO");
        }
    }
    Some(if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a regular file"
    } else {
        "a device"
    })
}
