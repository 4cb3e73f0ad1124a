//! Advice about services: their places, their starts and their ends.

use super::{Advice, SANDBOX, identity_file, impostor, probe, server};
use crate::text::{move_away, safe};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_sdk::{BindError, IdentityFileError, NameError};
use running_process::broker::service::{
    EnsureError, FindError, ForServiceError, FrontError, Obstacle, PlaceError, PlaceFault, RefuseReason,
    ReplaceError, StartEnd, StartFailure, StopError,
};
use std::io::{self, ErrorKind};
use std::path::Path;

const OTHER_ROOT: &str =
    "set RUNNING_PROCESS_DIR to a directory that belongs to you, for the daemon and all of its clients alike";

/// Returns the advice about a service that has no daemon after a start. `service` are the arguments that name it.
pub(crate) fn ensure(error: &EnsureError, service: &str) -> Advice {
    match error {
        EnsureError::Find(error) => find(error, service),
        EnsureError::NoCommand => Advice::no("no_command").hint(
            "the service is known only by its directory: describe it in a file with its `name`, `key` and `command`",
        ),
        EnsureError::NoProgram { .. } => Advice::no("no_program")
            .hint("name the program of `command` by its absolute path, or install it in a directory of PATH"),
        EnsureError::StartFailed(_) => Advice::no("start_failed"),
        EnsureError::BackingOff { .. } => Advice::no("backing_off"),
        EnsureError::Files(error) => files(error),
        EnsureError::Process(_) => Advice::undecided("process").hint(waiting(service)),
        EnsureError::Impostor(_) => impostor(None),
        EnsureError::NotInspectable(error) => not_inspectable(error),
        EnsureError::HeldByOrphan { pid } => held_by_orphan(*pid),
        EnsureError::ReplacementRefused { reason, .. } => refused(reason, service),
        EnsureError::ReplacementFailed { source, .. } => replace(source, service),
        EnsureError::TimedOut { state: "busy", .. } => Advice::undecided("timed_out").hint(busy(service)),
        EnsureError::TimedOut { .. } => Advice::undecided("timed_out").hint(waiting(service)),
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about a daemon of another version that is not replaced. `service` are the arguments that name it.
fn refused(reason: &RefuseReason, service: &str) -> Advice {
    let advice = Advice::no("replacement_refused");
    match reason {
        RefuseReason::Obstacle(Obstacle::OtherProgram { .. }) => {
            advice.hint("start the program that the daemon was started from, or stop that daemon first")
        }
        RefuseReason::Obstacle(_) => advice.hint("install the program of the version that is wanted"),
        _ => advice.hint(format!("to replace the daemon all the same: running-process restart {service}")),
    }
}

/// Returns the hint about a start that failed. `file` is the service's file.
pub(crate) fn failed_start(failure: &StartFailure, file: Option<&Path>) -> String {
    match failure.end {
        StartEnd::NotRun { .. } => {
            let file = file.map_or_else(|| "the service's file".into(), Path::to_string_lossy);
            format!("correct `command` or `directory` in {}", safe(file))
        }
        StartEnd::Exited { status: 0 } => {
            "a daemon stays in the foreground: drop the option that puts it into the background".to_owned()
        }
        StartEnd::Signaled { signal: 9 } => {
            "another process has killed it, or the system for want of memory: see the system's log".to_owned()
        }
        StartEnd::Silent { .. } => {
            "it neither reported progress nor became the daemon of this service: does its program use the same name \
             and key?"
                .to_owned()
        }
        _ => "correct the cause, then start again".to_owned(),
    }
}

/// Returns the advice about a service whose state cannot be told. `service` are the arguments that name it.
pub(crate) fn find(error: &FindError, service: &str) -> Advice {
    match error {
        FindError::Place(error) => place(error),
        FindError::IdentityFile { source, .. } if source.kind() == ErrorKind::NotADirectory => {
            Advice::undecided("no_place").hint(format!("nothing was changed: {OTHER_ROOT}"))
        }
        FindError::IdentityFile { path, source } => own_identity_file(path, source, service),
        FindError::Lock(error) => bind(error),
        FindError::Probe(error) => probe(error),
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about an identity file that its service finds, and the user has not named.
fn own_identity_file(path: &Path, error: &io::Error, service: &str) -> Advice {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(
            IdentityFileError::NotARegularFile
            | IdentityFileError::TooLarge
            | IdentityFileError::Malformed(_)
            | IdentityFileError::ForeignOwner { .. },
        ) => Advice::undecided("identity_file_unusable").hint(format!(
            "move it away: {}; a daemon that runs writes it again, otherwise the next start does; running-process doctor {service} \
             tells more",
            move_away(path)
        )),
        _ => identity_file(error),
    }
}

/// Returns the advice about a daemon that was not stopped. `service` are the arguments that name it.
pub(crate) fn stop(error: &StopError, service: &str) -> Advice {
    match error {
        StopError::Find(error) => find(error, service),
        StopError::Process(error) if error.kind() == ErrorKind::PermissionDenied => {
            Advice::undecided("process").hint("run this command as the daemon's user or as root")
        }
        StopError::Process(_) => Advice::undecided("process"),
        StopError::NotProven(error) => not_proven(error),
        StopError::HeldByOrphan { pid } => held_by_orphan(*pid),
        StopError::TimedOut { .. } => Advice::undecided("timed_out").hint(waiting(service)),
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about a daemon that was not replaced. `service` are the arguments that name it.
pub(crate) fn replace(error: &ReplaceError, service: &str) -> Advice {
    match error {
        ReplaceError::Find(error) => find(error, service),
        ReplaceError::TimedOut { .. } => Advice::undecided("timed_out").hint(waiting(service)),
        ReplaceError::NotProven(error) => not_proven(error),
        ReplaceError::NotStopped(error) => stop(error, service),
        ReplaceError::NotHandedOver { .. } => Advice::no("start_failed"),
        ReplaceError::NotReady { source, .. } | ReplaceError::NotStarted { source, .. } => {
            ensure(source, service)
        }
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about a daemon that must be proven before it is stopped.
fn not_proven(error: &ProbeError) -> Advice {
    match error {
        ProbeError::NotInspectable { .. } | ProbeError::OtherNamespace { .. } => not_inspectable(error),
        _ => impostor(None),
    }
}

/// Returns the advice about a process that is not the daemon of its service. `service` are the arguments that name it.
pub(crate) fn for_service(error: &ForServiceError, service: &str) -> Advice {
    match error {
        ForServiceError::Place(error) => place(error),
        ForServiceError::Runs { .. } => Advice::undecided("in_use")
            .hint(format!("a service has one daemon; to end that one: running-process stop {service}")),
        ForServiceError::StartedForAnother { .. } => Advice::undecided("started_for_another")
            .hint("give the file of `start --file` to `serve --service` in its `command`, too"),
        ForServiceError::Bind(error) => bind(error),
        ForServiceError::Files(error) => files(error),
        ForServiceError::Name(_) => Advice::undecided("invalid_endpoint").hint(OTHER_ROOT),
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about a front that does not serve. `file` is the service's file.
pub(crate) fn front(error: &FrontError, file: &Path) -> Advice {
    let told = safe(file.display());
    match error {
        FrontError::Place(error) => for_service(error, &format!("--file {told}")),
        FrontError::NoProgram { .. } => Advice::no("no_program").hint(
            "name the program of `command` in `front` by its absolute path, or install it in a directory of PATH",
        ),
        FrontError::NotStarted { .. } => {
            Advice::no("fronted_not_started").hint(format!("correct `command` in `front` in {told}"))
        }
        FrontError::Occupied { .. } => Advice::no("fronted_address_in_use").hint(format!(
            "end that process, or give the fronted daemon another address in `command` and `connect` in {told}"
        )),
        FrontError::EndedEarly { status, .. } if status.success() => Advice::no("fronted_ended").hint(
            "the fronted daemon stays in the foreground: drop the option that puts it into the background",
        ),
        FrontError::EndedEarly { .. } => {
            Advice::no("fronted_ended").hint("the output above tells why; correct the cause, then start again")
        }
        FrontError::NotReady { .. } => Advice::no("fronted_not_ready")
            .hint(format!("does the fronted daemon listen at `connect`? Compare it with `command` in {told}")),
        FrontError::Ended { .. } => Advice::no("fronted_ended")
            .hint(format!("to start both again: running-process start --file {told}")),
        FrontError::Server(error) => server(error),
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about a service that has no place for its files.
pub(crate) fn place(error: &PlaceError) -> Advice {
    let unusable = Advice::undecided("no_place");
    match &error.fault {
        // That of the system, or of anything else.
        PlaceFault::NotPrivate { .. } if !is_of_services(&error.path) => unusable
            .hint("set RUNNING_PROCESS_DIR to a directory for this alone, which is made with mode 700, for the daemon and all of its clients alike"),
        PlaceFault::NotPrivate { .. } => unusable.hint(format!(
            "if everything in it is yours: chmod 700 {}; if not, {OTHER_ROOT}",
            safe(error.path.display())
        )),
        PlaceFault::NotADirectory => {
            unusable.hint(format!("move it away, or {OTHER_ROOT}; nothing was changed"))
        }
        _ => unusable.hint(OTHER_ROOT),
    }
}

/// Returns whether all in the directory at `path` is for its owner alone, as it is in a directory of services.
#[cfg(unix)]
pub(crate) fn is_of_services(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(mut entries) = path.read_dir() else { return false };
    entries.all(|entry| {
        let others = entry.and_then(|entry| entry.metadata()).map(|found| found.mode() & 0o077);
        others.is_ok_and(|others| others == 0)
    })
}

/// Returns `true`: modes are of Unix alone.
#[cfg(not(unix))]
pub(crate) fn is_of_services(_: &Path) -> bool {
    true
}

/// Returns the advice about a lock or a socket of a service that cannot be taken.
fn bind(error: &BindError) -> Advice {
    match error {
        BindError::InUse { .. } => Advice::undecided("in_use").hint(
            "end the process that listens there; running-process doctor names it where the system tells",
        ),
        BindError::NotASocket { .. } => {
            Advice::undecided("not_a_socket").hint("the file was not changed: move it away")
        }
        BindError::NotALock { .. } => {
            Advice::undecided("lock_unusable").hint("the file was not changed: move it away")
        }
        BindError::Lock { .. } => Advice::undecided("lock_unusable").hint("correct the lock file"),
        BindError::HeldByChild { pid, .. } => held_by_orphan(*pid),
        BindError::Directory { .. } => Advice::undecided("directory_of_others").hint(OTHER_ROOT),
        BindError::NoDirectory { .. } => Advice::undecided("no_directory").hint(OTHER_ROOT),
        BindError::Name(NameError::TooLong { .. }) => Advice::undecided("invalid_endpoint").hint(OTHER_ROOT),
        BindError::PermissionDenied { .. } => Advice::undecided("permission_denied").hint(OTHER_ROOT),
        BindError::Unavailable { .. } => Advice::undecided("sockets_unavailable").hint(SANDBOX),
        BindError::NoSockets { .. } => Advice::undecided("no_sockets").hint(OTHER_ROOT),
        BindError::NoLocks { .. } => Advice::undecided("no_locks").hint(OTHER_ROOT),
        _ => Advice::undecided("failed"),
    }
}

fn files(error: &io::Error) -> Advice {
    match error.kind() {
        ErrorKind::PermissionDenied => Advice::undecided("permission_denied").hint(OTHER_ROOT),
        _ => Advice::undecided("io"),
    }
}

/// Returns the hint about a daemon that lives and does not answer. `service` are the arguments that name it.
pub(crate) fn busy(service: &str) -> String {
    format!("wait longer with --deadline, or end it: running-process stop {service}")
}

fn waiting(service: &str) -> String {
    format!("wait longer with --deadline; to see how it goes on: running-process status {service}")
}

/// Returns the hint about a daemon that a signal has stopped.
pub(crate) fn stopped(pid: u32) -> String {
    format!("to let it go on: kill -CONT {pid}")
}

/// Returns the advice about a lock that the daemon has left to another process.
pub(crate) fn held_by_orphan(pid: Option<u32>) -> Advice {
    let process = pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    Advice::no("held_by_orphan").hint(format!(
        "the daemon has ended, and {process} has its descriptors, probably a child of it: end that process, then start again"
    ))
}

/// Returns the advice about a daemon that cannot be examined.
pub(crate) fn not_inspectable(error: &ProbeError) -> Advice {
    match error {
        ProbeError::OtherNamespace { .. } => Advice::undecided("other_namespace")
            .hint("the daemon runs in another container: run this command inside it"),
        _ => Advice::undecided("not_inspectable")
            .hint("it may well run: run this command as the daemon's user or as root"),
    }
}

#[cfg(test)]
mod tests;
