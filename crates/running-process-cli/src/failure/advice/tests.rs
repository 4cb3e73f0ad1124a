//! Tests of every row of the table.

use super::*;
use crate::failure::Failure;
use running_process::broker::backend_lifecycle::probe::{Absence, EndpointProbeError, PeerRole, PolicyRule};
use running_process::broker::backend_sdk::{DirectoryFault, LockFault};
use running_process::broker::protocol::FramingError;
use std::sync::Arc;
use std::time::Duration;

/// A row: the advice, its name and verdict, and words of its hint. No words mean no hint.
pub(in crate::failure) type Row = (Advice, &'static str, Verdict, &'static str);

pub(in crate::failure) const NO: Verdict = Verdict::No;
pub(in crate::failure) const UNDECIDED: Verdict = Verdict::Undecided;

/// Checks the rows, and that the schema has their names.
#[track_caller]
pub(in crate::failure) fn check(rows: impl IntoIterator<Item = Row>) {
    let schema = include_str!("../../../docs/json.schema.json");
    for (advice, kind, verdict, words) in rows {
        assert_eq!((advice.kind, advice.verdict), (kind, verdict), "{advice:?}");
        let hint = advice.hint.as_deref().unwrap_or_default();
        assert!(hint.contains(words) && hint.is_empty() == words.is_empty(), "{kind}: {hint:?}");
        assert!(schema.contains(&format!("\"{kind}\"")), "{kind} is not in the schema");
    }
}

pub(in crate::failure) fn denied() -> io::Error {
    ErrorKind::PermissionDenied.into()
}

pub(in crate::failure) fn other() -> io::Error {
    ErrorKind::Other.into()
}

#[test]
fn each_failed_verification_has_its_advice() {
    let pid = 7;
    let inspect = |source| probe(&ProbeError::NotInspectable { pid, source });
    check([
        (probe(&ProbeError::Disabled), "probes_disabled", UNDECIDED, "unset"),
        (
            probe(&ProbeError::EndpointMismatch { asked: String::new(), recorded: String::new() }),
            "endpoint_mismatch",
            NO,
            "that endpoint",
        ),
        (probe(&ProbeError::Gone { pid, how: Absence::Exited }), "gone", NO, "start it again"),
        (probe(&ProbeError::ReusedPid { pid, recorded: 1, found: 2 }), "reused_pid", NO, "outdated"),
        (
            probe(&ProbeError::OtherBoot { recorded: String::new(), current: String::new() }),
            "other_boot",
            NO,
            "outdated",
        ),
        (
            probe(&ProbeError::Impostor { role: PeerRole::Listener, pid, image: None, expected: 8 }),
            "impostor",
            NO,
            "another process than the daemon",
        ),
        (probe(&ProbeError::OtherImage { pid }), "other_image", NO, "probe again"),
        (probe(&ProbeError::OtherNamespace { pid }), "other_namespace", UNDECIDED, "container"),
        (inspect(denied()), "not_inspectable", UNDECIDED, "daemon's user"),
        (inspect(other()), "not_inspectable", UNDECIDED, "accept less"),
        (probe(&ProbeError::Policy(PolicyRule::WithoutOrigin)), "policy", UNDECIDED, "--policy default"),
        (probe(&ProbeError::TimedOut), "timed_out", UNDECIDED, "--deadline"),
        (probe(&ProbeError::Closed), "closed", UNDECIDED, "limit of connections"),
        (probe(&ProbeError::Unasked { bytes: 1 }), "no_probe_answer", NO, "this protocol"),
        (probe(&ProbeError::Response(EndpointProbeError::Nonce)), "no_probe_answer", NO, "this protocol"),
        (
            probe(&ProbeError::Framing(FramingError::FrameTooLarge { body_length: 1, cap: 0 })),
            "no_probe_answer",
            NO,
            "this protocol",
        ),
        (probe(&ProbeError::Stream(other())), "stream", UNDECIDED, ""),
    ]);
}

#[test]
fn each_failed_connect_has_its_advice() {
    let path = String::new;
    check([
        (connect(&ConnectError::Name(NameError::Empty)), "invalid_endpoint", NO, "cannot have"),
        (connect(&ConnectError::NotFound { path: path() }), "no_endpoint", NO, "start it again"),
        (connect(&ConnectError::Refused { path: path() }), "no_listener", NO, "start it again"),
        (connect(&ConnectError::BacklogFull { path: path() }), "backlog_full", UNDECIDED, "try again later"),
        (connect(&ConnectError::NotASocket { path: path() }), "not_a_socket", NO, "move it away"),
        (
            connect(&ConnectError::PermissionDenied { path: path(), source: Arc::new(denied()) }),
            "permission_denied",
            UNDECIDED,
            "daemon's user",
        ),
        (
            connect(&ConnectError::Unavailable { source: Arc::new(denied()) }),
            "sockets_unavailable",
            UNDECIDED,
            "sandbox",
        ),
        (
            connect(&ConnectError::Sandboxed { path: path(), source: Arc::new(denied()) }),
            "sandboxed",
            UNDECIDED,
            "sandbox",
        ),
        (connect(&ConnectError::Io { path: path(), source: Arc::new(other()) }), "stream", UNDECIDED, ""),
    ]);
}

#[test]
fn each_failed_bind_has_its_advice() {
    let path = String::new;
    check([
        (bind(&BindError::InUse { path: path() }), "in_use", UNDECIDED, "stop that daemon"),
        (bind(&BindError::NotASocket { path: path() }), "not_a_socket", UNDECIDED, "was not changed"),
        (bind(&BindError::NotALock { path: path() }), "lock_unusable", UNDECIDED, "was not changed"),
        (
            bind(&BindError::Lock { path: path(), fault: LockFault::ForeignOwner { owner: 1 } }),
            "lock_unusable",
            UNDECIDED,
            "correct the lock",
        ),
        (
            bind(&BindError::HeldByChild { path: path(), pid: None }),
            "held_by_child",
            UNDECIDED,
            "end that process",
        ),
        (
            bind(&BindError::Directory { path: path(), fault: DirectoryFault::ForeignOwner { owner: 1 } }),
            "directory_of_others",
            UNDECIDED,
            "mode 700",
        ),
        (bind(&BindError::NoDirectory { path: path() }), "no_directory", UNDECIDED, "create the directory"),
        (
            bind(&BindError::Name(NameError::TooLong { length: 2, max: 1 })),
            "invalid_endpoint",
            UNDECIDED,
            "shorter",
        ),
        (bind(&BindError::Name(NameError::Empty)), "invalid_endpoint", UNDECIDED, "--socket"),
        (
            bind(&BindError::PermissionDenied { path: path(), source: Arc::new(denied()) }),
            "permission_denied",
            UNDECIDED,
            "that you can write",
        ),
        (
            bind(&BindError::Unavailable { source: Arc::new(denied()) }),
            "sockets_unavailable",
            UNDECIDED,
            "sandbox",
        ),
        (
            bind(&BindError::NoSockets { path: path(), source: Arc::new(other()) }),
            "no_sockets",
            UNDECIDED,
            "local file",
        ),
        (
            bind(&BindError::NoLocks { path: path(), source: Arc::new(other()) }),
            "no_locks",
            UNDECIDED,
            "local file",
        ),
        (bind(&BindError::Io { path: path(), source: Arc::new(other()) }), "failed", UNDECIDED, ""),
    ]);
}

#[test]
fn each_failed_server_has_its_advice() {
    let unwritable = |source| server(&ServerError::IdentityFile { path: "r".into(), source });
    let waited = Duration::from_secs(5);
    let inner = |error: IdentityFileError| unwritable(error.into());
    check([
        (inner(IdentityFileError::EndpointItself), "identity_file_unwritable", UNDECIDED, "its own"),
        (inner(IdentityFileError::Busy), "identity_file_unwritable", UNDECIDED, "its own"),
        (inner(IdentityFileError::NotARegularFile), "identity_file_unwritable", UNDECIDED, "was not changed"),
        (
            inner(IdentityFileError::ForeignDirectory { owner: 1 }),
            "identity_file_unwritable",
            UNDECIDED,
            "clients would not read",
        ),
        (
            unwritable(ErrorKind::NotFound.into()),
            "identity_file_unwritable",
            UNDECIDED,
            "create the directory",
        ),
        (unwritable(denied()), "identity_file_unwritable", UNDECIDED, "that you can write"),
        (unwritable(other()), "identity_file_unwritable", UNDECIDED, ""),
        (
            server(&ServerError::DrainTimedOut { connections: 1, callbacks: Vec::new(), waited }),
            "drain_timed_out",
            UNDECIDED,
            "end of stream",
        ),
        (server(&ServerError::Start(other())), "failed", UNDECIDED, "ulimit -u"),
        (server(&ServerError::Accept(other())), "failed", UNDECIDED, ""),
    ]);
}

#[test]
fn each_refused_identity_file_has_its_advice() {
    let inner = |error: IdentityFileError| identity_file(&error.into());
    let kind = "identity_file_unusable";
    check([
        (inner(IdentityFileError::NotARegularFile), kind, UNDECIDED, "not a link"),
        (inner(IdentityFileError::DirectoryWritableByOthers { mode: 0o777 }), kind, UNDECIDED, "chmod 700"),
        (inner(IdentityFileError::ForeignOwner { owner: 1 }), kind, UNDECIDED, "chooses the daemon"),
        (inner(IdentityFileError::ForeignDirectory { owner: 1 }), kind, UNDECIDED, "chooses the daemon"),
        (inner(IdentityFileError::UnmappedUser { uid: 65_534 }), kind, UNDECIDED, "user namespace"),
        (inner(IdentityFileError::WritableByOthers { mode: 0o666 }), kind, UNDECIDED, "chmod 600"),
        (inner(IdentityFileError::TooLarge), kind, UNDECIDED, "rewrites it"),
        (identity_file(&denied()), kind, UNDECIDED, "daemon's user"),
        (identity_file(&other()), kind, UNDECIDED, ""),
    ]);
}

#[test]
fn each_request_without_a_response_has_its_advice() {
    let context = RequestContext { protocol: 0xF00D, timeout_option: "--deadline" };
    let of = |error: FrameClientError| request(&error, context);
    let too_large = FramingError::FrameTooLarge { body_length: 2, cap: 1 };
    let timeout = Duration::from_secs(1);
    check([
        (of(FrameClientError::Disabled), "frames_disabled", UNDECIDED, "unset"),
        (of(FrameClientError::Request(Arc::new(too_large))), "request_too_large", UNDECIDED, "16777216"),
        (of(FrameClientError::Closed), "closed", NO, "protocol"),
        (of(FrameClientError::NotReceived), "not_received", UNDECIDED, "sent again"),
        (of(FrameClientError::TimedOut { timeout }), "timed_out", UNDECIDED, "--deadline"),
        (of(FrameClientError::Stream(Arc::new(other()))), "stream", UNDECIDED, "may have run"),
        (of(FrameClientError::Dead), "dead", UNDECIDED, "nothing was sent"),
    ]);
    let refused = |reason| of(FrameClientError::Refused(Refusal::new(reason, "")));
    check([
        (refused(RefusalReason::Overloaded), "overloaded", UNDECIDED, "try again later"),
        (refused(RefusalReason::DeadlinePassed), "deadline_passed", NO, "more time"),
        (refused(RefusalReason::Cancelled), "cancelled", NO, "may have run"),
        (refused(RefusalReason::UnservedProtocol), "unserved_protocol", NO, "0xF00D the right"),
        (refused(RefusalReason::BadEncoding), "bad_encoding", NO, "cannot decode"),
        (refused(RefusalReason::NotAuthorized), "not_authorized", NO, "daemon's user"),
        (refused(RefusalReason::HandlerFailed), "handler_failed", NO, "see its log"),
        (refused(RefusalReason::ShuttingDown), "shutting_down", NO, "has restarted"),
        (refused(RefusalReason::AnswerTooLarge), "answer_too_large", NO, "request less"),
        (refused(RefusalReason::Unspecified), "refused", NO, "may have run"),
    ]);
    // The hint permits sending the request again only where its handler has not run.
    for reason in 0..10 {
        let refusal = Refusal::new(RefusalReason::try_from(reason).unwrap(), "");
        let hint = of(FrameClientError::Refused(refusal.clone())).hint.unwrap();
        let again = hint.contains("again later") || hint.contains("send it again");
        assert!(!(again && refusal.may_have_run()), "{hint}");
    }
}

#[test]
fn an_exhausted_resource_among_the_causes_decides_the_advice() {
    let failure = |source| {
        let error = ProbeError::NotInspectable { pid: 7, source };
        let advice = probe(&error);
        Failure::new(error, advice).context("nothing was sent").advice
    };
    if cfg!(unix) {
        check([
            (failure(io::Error::from_raw_os_error(24)), "too_many_open_files", UNDECIDED, "ulimit -n"),
            (failure(io::Error::from_raw_os_error(23)), "too_many_open_files", UNDECIDED, "whole system"),
        ]);
    }
    check([
        (failure(ErrorKind::OutOfMemory.into()), "out_of_memory", UNDECIDED, "no memory"),
        (failure(ErrorKind::StorageFull.into()), "storage_full", UNDECIDED, "free some space"),
        (failure(ErrorKind::ReadOnlyFilesystem.into()), "read_only", UNDECIDED, "can be written"),
        (failure(denied()), "not_inspectable", UNDECIDED, "daemon's user"),
    ]);
}
