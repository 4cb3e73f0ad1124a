//! Tests of every row of the table about services.

use super::super::tests::{NO, UNDECIDED, check, denied, other};
use super::*;
use running_process::broker::backend_lifecycle::probe::{Absence, EndpointProbeError};
use running_process::broker::backend_sdk::{ConnectError, DirectoryFault, LockFault};
use running_process::broker::service::Release;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const SERVICE: &str = "--file cache.toml";

fn fault(fault: PlaceFault) -> PlaceError {
    PlaceError { path: "/srv/root".into(), fault }
}

fn fault_found() -> FindError {
    fault(PlaceFault::NotAbsolute).into()
}

fn impostor() -> ProbeError {
    ProbeError::Response(EndpointProbeError::Nonce)
}

fn hidden() -> ProbeError {
    ProbeError::NotInspectable { pid: 7, source: denied() }
}

#[test]
fn each_failed_start_has_its_advice() {
    let of = |error: EnsureError| ensure(&error, SERVICE);
    let failure = StartFailure { end: StartEnd::Exited { status: 3 }, log: String::new() };
    let timed_out = |state| of(EnsureError::TimedOut { state, detail: None });
    check([
        (of(EnsureError::NoCommand), "no_command", NO, "describe it in a file"),
        (of(EnsureError::NoProgram { program: "x".into() }), "no_program", NO, "absolute path"),
        // The command adds the path of the log.
        (of(EnsureError::StartFailed(failure)), "start_failed", NO, ""),
        (of(EnsureError::BackingOff { until: SystemTime::UNIX_EPOCH, failure: None }), "backing_off", NO, ""),
        (of(EnsureError::Files(denied())), "permission_denied", UNDECIDED, "RUNNING_PROCESS_DIR"),
        (of(EnsureError::Files(other())), "io", UNDECIDED, ""),
        (of(EnsureError::Process(other())), "process", UNDECIDED, "status --file cache.toml"),
        (of(EnsureError::Impostor(impostor())), "impostor", NO, "nothing was started"),
        (of(EnsureError::NotInspectable(hidden())), "not_inspectable", UNDECIDED, "daemon's user"),
        (
            of(EnsureError::NotInspectable(ProbeError::OtherNamespace { pid: 7 })),
            "other_namespace",
            UNDECIDED,
            "another container",
        ),
        (of(EnsureError::HeldByOrphan { pid: Some(7) }), "held_by_orphan", NO, "process 7"),
        (of(EnsureError::HeldByOrphan { pid: None }), "held_by_orphan", NO, "a process"),
        (timed_out("busy"), "timed_out", UNDECIDED, "running-process stop --file cache.toml"),
        (timed_out("starting"), "timed_out", UNDECIDED, "running-process status --file cache.toml"),
        (of(fault(PlaceFault::NotAbsolute).into()), "no_place", UNDECIDED, "RUNNING_PROCESS_DIR"),
    ]);
}

#[test]
fn each_daemon_of_another_version_has_its_advice() {
    let (running, wanted) = (Release::new("1.0", ""), Release::new("2.0", ""));
    let refused = |reason| {
        let (running, wanted, reason) = (running.clone(), wanted.clone(), Box::new(reason));
        ensure(&EnsureError::ReplacementRefused { running, wanted, reason }, SERVICE)
    };
    let failed = |source| {
        let (running, wanted, source) = (running.clone(), wanted.clone(), Box::new(source));
        ensure(&EnsureError::ReplacementFailed { running, wanted, source }, SERVICE)
    };
    let (within, retry_after) = (Duration::from_mins(10), Duration::from_secs(1));
    let elsewhere = Obstacle::OtherProgram { running: None, wanted: "/usr/bin/cached".into() };
    check([
        (
            refused(RefuseReason::TooMany { count: 3, within, last: None, retry_after }),
            "replacement_refused",
            NO,
            "running-process restart --file cache.toml",
        ),
        (refused(RefuseReason::Obstacle(elsewhere)), "replacement_refused", NO, "started from"),
        (refused(RefuseReason::Obstacle(Obstacle::NotUpgraded)), "replacement_refused", NO, "install"),
        (refused(RefuseReason::Obstacle(Obstacle::NoProgram)), "replacement_refused", NO, "install"),
        (failed(ReplaceError::NotProven(impostor())), "impostor", NO, "or stopped"),
    ]);
}

#[test]
fn each_way_to_fail_has_its_hint() {
    for (end, words) in [
        (StartEnd::NotRun { error: String::new() }, "`command` or `directory` in cache.toml"),
        (StartEnd::Exited { status: 0 }, "stays in the foreground"),
        (StartEnd::Exited { status: 1 }, "correct the cause"),
        (StartEnd::Signaled { signal: 9 }, "want of memory"),
        (StartEnd::Signaled { signal: 11 }, "correct the cause"),
        (StartEnd::Ended, "correct the cause"),
        (StartEnd::Silent { status: String::new() }, "the same name and key"),
        (StartEnd::Abandoned, "correct the cause"),
        (StartEnd::Crashed, "correct the cause"),
    ] {
        let hint = failed_start(&StartFailure { end, log: String::new() }, Some(Path::new("cache.toml")));
        assert!(hint.contains(words), "{hint}");
    }
}

#[test]
fn each_state_that_cannot_be_told_has_its_advice() {
    let find = |error: &FindError| find(error, "cache");
    let identity_file =
        |source: io::Error| find(&FindError::IdentityFile { path: "/r/cache/identity.json".into(), source });
    let lock = |error| find(&FindError::Lock(error));
    let path = String::new;
    check([
        (identity_file(ErrorKind::NotADirectory.into()), "no_place", UNDECIDED, "nothing was changed"),
        (identity_file(denied()), "identity_file_unusable", UNDECIDED, "daemon's user"),
        (
            identity_file(IdentityFileError::NotARegularFile.into()),
            "identity_file_unusable",
            UNDECIDED,
            "mv /r/cache/identity.json /r/cache/identity.json.away; a daemon that runs writes it again",
        ),
        (
            identity_file(IdentityFileError::TooLarge.into()),
            "identity_file_unusable",
            UNDECIDED,
            "running-process doctor cache tells more",
        ),
        (
            find(&FindError::Probe(ConnectError::Unavailable { source: Arc::new(denied()) }.into())),
            "sockets_unavailable",
            UNDECIDED,
            "sandbox",
        ),
        (find(&FindError::Probe(ProbeError::Disabled)), "probes_disabled", UNDECIDED, "unset"),
        (lock(BindError::InUse { path: path() }), "in_use", UNDECIDED, "end the process"),
        (lock(BindError::NotASocket { path: path() }), "not_a_socket", UNDECIDED, "move it away"),
        (lock(BindError::NotALock { path: path() }), "lock_unusable", UNDECIDED, "move it away"),
        (
            lock(BindError::Lock { path: path(), fault: LockFault::ForeignOwner { owner: 1 } }),
            "lock_unusable",
            UNDECIDED,
            "correct the lock",
        ),
        (lock(BindError::HeldByChild { path: path(), pid: Some(7) }), "held_by_orphan", NO, "process 7"),
        (
            lock(BindError::Directory { path: path(), fault: DirectoryFault::ForeignOwner { owner: 1 } }),
            "directory_of_others",
            UNDECIDED,
            "RUNNING_PROCESS_DIR",
        ),
        (lock(BindError::NoDirectory { path: path() }), "no_directory", UNDECIDED, "RUNNING_PROCESS_DIR"),
        (
            lock(BindError::Name(NameError::TooLong { length: 2, max: 1 })),
            "invalid_endpoint",
            UNDECIDED,
            "RUNNING_PROCESS_DIR",
        ),
        (
            lock(BindError::PermissionDenied { path: path(), source: Arc::new(denied()) }),
            "permission_denied",
            UNDECIDED,
            "RUNNING_PROCESS_DIR",
        ),
        (
            lock(BindError::Unavailable { source: Arc::new(denied()) }),
            "sockets_unavailable",
            UNDECIDED,
            "sandbox",
        ),
        (lock(BindError::Io { path: path(), source: Arc::new(other()) }), "failed", UNDECIDED, ""),
    ]);
}

#[test]
fn each_place_that_is_not_used_has_its_advice() {
    let of = |of: PlaceFault| place(&fault(of));
    check([
        (of(PlaceFault::NoHome(other())), "no_place", UNDECIDED, "set RUNNING_PROCESS_DIR"),
        (of(PlaceFault::NotAbsolute), "no_place", UNDECIDED, "set RUNNING_PROCESS_DIR"),
        (of(PlaceFault::NotADirectory), "no_place", UNDECIDED, "move it away"),
        (of(PlaceFault::ForeignOwner { owner: 1 }), "no_place", UNDECIDED, "all of its clients"),
        (of(PlaceFault::NotPrivate { mode: 0o755 }), "no_place", UNDECIDED, "set RUNNING_PROCESS_DIR to a"),
        (of(PlaceFault::Unusable(denied())), "no_place", UNDECIDED, "set RUNNING_PROCESS_DIR"),
        (of(PlaceFault::NotAbsolute), "no_place", UNDECIDED, "set RUNNING_PROCESS_DIR"),
    ]);
}

#[cfg(unix)]
#[test]
fn a_directory_is_made_private_only_if_all_in_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("lock");
    std::fs::write(&file, "").unwrap();
    let hint = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = PlaceError { path: root.path().into(), fault: PlaceFault::NotPrivate { mode: 0o755 } };
        place(&error).hint.unwrap().contains("chmod 700")
    };
    assert_eq!((hint(0o600), hint(0o644)), (true, false));
}

#[test]
fn each_daemon_that_was_not_stopped_has_its_advice() {
    let of = |error: StopError| stop(&error, SERVICE);
    let place = FindError::from(fault(PlaceFault::NotAbsolute));
    check([
        (of(place.into()), "no_place", UNDECIDED, "RUNNING_PROCESS_DIR"),
        (of(StopError::Process(denied())), "process", UNDECIDED, "daemon's user"),
        (of(StopError::Process(other())), "process", UNDECIDED, ""),
        (of(StopError::NotProven(hidden())), "not_inspectable", UNDECIDED, "daemon's user"),
        (of(StopError::NotProven(impostor())), "impostor", NO, "or stopped"),
        (
            of(StopError::NotProven(ProbeError::Gone { pid: 7, how: Absence::Exited })),
            "impostor",
            NO,
            "or stopped",
        ),
        (of(StopError::HeldByOrphan { pid: Some(7) }), "held_by_orphan", NO, "process 7"),
        (of(StopError::TimedOut { state: "draining" }), "timed_out", UNDECIDED, "status --file cache.toml"),
    ]);
}

#[test]
fn each_daemon_that_was_not_replaced_has_its_advice() {
    let of = |error: ReplaceError| replace(&error, SERVICE);
    let failure = StartFailure { end: StartEnd::Exited { status: 3 }, log: String::new() };
    let source = EnsureError::NoProgram { program: "x".into() };
    let late = EnsureError::TimedOut { state: "starting", detail: None };
    check([
        // The command adds the path of the log.
        (of(ReplaceError::NotHandedOver { pid: 7, failure }), "start_failed", NO, ""),
        (of(ReplaceError::TimedOut { by: Some(7) }), "timed_out", UNDECIDED, "status --file cache.toml"),
        (of(ReplaceError::NotProven(impostor())), "impostor", NO, "or stopped"),
        (of(ReplaceError::NotProven(hidden())), "not_inspectable", UNDECIDED, "daemon's user"),
        (of(StopError::HeldByOrphan { pid: Some(7) }.into()), "held_by_orphan", NO, "process 7"),
        (of(ReplaceError::NotStarted { former_pid: None, source }), "no_program", NO, "absolute path"),
        (of(ReplaceError::NotReady { pid: 7, source: late }), "timed_out", UNDECIDED, "--deadline"),
        (of(fault_found().into()), "no_place", UNDECIDED, "RUNNING_PROCESS_DIR"),
    ]);
}

#[test]
fn each_process_that_is_not_the_daemon_has_its_advice() {
    let of = |error: ForServiceError| for_service(&error, SERVICE);
    let another = ForServiceError::StartedForAnother {
        service: "a".to_owned(),
        started_key: None,
        own: "a".to_owned(),
        own_key: Some("k".into()),
    };
    check([
        (of(another), "started_for_another", UNDECIDED, "serve --service"),
        (of(ForServiceError::Runs { pid: Some(7) }), "in_use", UNDECIDED, "stop --file cache.toml"),
        (of(fault(PlaceFault::NotAbsolute).into()), "no_place", UNDECIDED, "RUNNING_PROCESS_DIR"),
        (of(BindError::NotASocket { path: String::new() }.into()), "not_a_socket", UNDECIDED, "move it away"),
        (of(ForServiceError::Files(denied())), "permission_denied", UNDECIDED, "RUNNING_PROCESS_DIR"),
        (of(ForServiceError::Signals(other())), "failed", UNDECIDED, ""),
    ]);
}
