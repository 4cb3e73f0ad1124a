//! Every row of the table.

use super::*;
use crate::failure::Failure;
use running_process::broker::backend_lifecycle::probe::{Absence, EndpointProbeError, PeerRole, PolicyRule};
use running_process::broker::backend_sdk::{DirectoryFault, LockFault};
use running_process::broker::protocol::FramingError;
use std::sync::Arc;
use std::time::Duration;

/// A row: the advice, its name and verdict, and words of its hint; no words where there is no hint.
type Row = (Advice, &'static str, Verdict, &'static str);

const NO: Verdict = Verdict::No;
const OPEN: Verdict = Verdict::Undecided;

#[track_caller]
fn check(rows: impl IntoIterator<Item = Row>) {
    let schema = include_str!("../../../../docs/json.schema.json");
    for (advice, kind, verdict, words) in rows {
        assert_eq!((advice.kind, advice.verdict), (kind, verdict), "{advice:?}");
        let hint = advice.hint.as_deref().unwrap_or_default();
        assert!(hint.contains(words) && hint.is_empty() == words.is_empty(), "{kind}: {hint:?}");
        assert!(schema.contains(&format!("\"{kind}\"")), "{kind} is not in the schema");
    }
}

fn denied() -> io::Error {
    ErrorKind::PermissionDenied.into()
}

fn other() -> io::Error {
    ErrorKind::Other.into()
}

#[test]
fn a_verification_that_fails() {
    let pid = 7;
    let inspect = |source| probe(&ProbeError::NotInspectable { pid, source });
    check([
        (probe(&ProbeError::Disabled), "probes_disabled", OPEN, "unset"),
        (
            probe(&ProbeError::EndpointMismatch { asked: String::new(), recorded: String::new() }),
            "endpoint_mismatch",
            NO,
            "that endpoint",
        ),
        (probe(&ProbeError::Gone { pid, how: Absence::Exited }), "gone", NO, "start it again"),
        (probe(&ProbeError::ReusedPid { pid, recorded: 1, found: 2 }), "reused_pid", NO, "an old one"),
        (
            probe(&ProbeError::OtherBoot { recorded: String::new(), current: String::new() }),
            "other_boot",
            NO,
            "an old one",
        ),
        (
            probe(&ProbeError::Impostor { role: PeerRole::Listener, pid, image: None, expected: 8 }),
            "impostor",
            NO,
            "another process has taken the endpoint",
        ),
        (probe(&ProbeError::OtherImage { pid }), "other_image", NO, "probe again"),
        (probe(&ProbeError::OtherNamespace { pid }), "other_namespace", OPEN, "container"),
        (inspect(denied()), "not_inspectable", OPEN, "daemon's own user"),
        (inspect(other()), "not_inspectable", OPEN, "accept less"),
        (probe(&ProbeError::Policy(PolicyRule::WithoutOrigin)), "policy", OPEN, "--policy default"),
        (probe(&ProbeError::TimedOut), "timed_out", OPEN, "--deadline"),
        (probe(&ProbeError::Closed), "closed", OPEN, "as many connections as it allows"),
        (probe(&ProbeError::Unasked { bytes: 1 }), "no_probe_answer", NO, "this protocol"),
        (probe(&ProbeError::Response(EndpointProbeError::Nonce)), "no_probe_answer", NO, "this protocol"),
        (
            probe(&ProbeError::Framing(FramingError::FrameTooLarge { body_length: 1, cap: 0 })),
            "no_probe_answer",
            NO,
            "this protocol",
        ),
        (probe(&ProbeError::Stream(other())), "stream", OPEN, ""),
    ]);
}

#[test]
fn an_endpoint_that_cannot_be_connected_to() {
    let path = String::new;
    check([
        (connect(&ConnectError::Name(NameError::Empty)), "invalid_endpoint", NO, "cannot be"),
        (connect(&ConnectError::NotFound { path: path() }), "no_endpoint", NO, "start it again"),
        (connect(&ConnectError::Refused { path: path() }), "no_listener", NO, "start it again"),
        (connect(&ConnectError::BacklogFull { path: path() }), "backlog_full", OPEN, "try again later"),
        (connect(&ConnectError::NotASocket { path: path() }), "not_a_socket", NO, "move it away"),
        (
            connect(&ConnectError::PermissionDenied { path: path(), source: Arc::new(denied()) }),
            "permission_denied",
            OPEN,
            "daemon's own user",
        ),
        (
            connect(&ConnectError::Unavailable { source: Arc::new(denied()) }),
            "sockets_unavailable",
            OPEN,
            "sandbox",
        ),
        (connect(&ConnectError::Io { path: path(), source: Arc::new(other()) }), "stream", OPEN, ""),
    ]);
}

#[test]
fn an_endpoint_that_cannot_be_owned() {
    let path = String::new;
    check([
        (bind(&BindError::InUse { path: path() }), "in_use", OPEN, "stop that one"),
        (bind(&BindError::NotASocket { path: path() }), "not_a_socket", OPEN, "left untouched"),
        (bind(&BindError::NotALock { path: path() }), "lock_unusable", OPEN, "left untouched"),
        (
            bind(&BindError::Lock { path: path(), fault: LockFault::ForeignOwner { owner: 1 } }),
            "lock_unusable",
            OPEN,
            "see to the lock",
        ),
        (
            bind(&BindError::HeldByChild { path: path(), pid: None }),
            "held_by_child",
            OPEN,
            "end that process",
        ),
        (
            bind(&BindError::Directory { path: path(), fault: DirectoryFault::ForeignOwner { owner: 1 } }),
            "directory_of_others",
            OPEN,
            "mode 700",
        ),
        (bind(&BindError::NoDirectory { path: path() }), "no_directory", OPEN, "make the directory"),
        (
            bind(&BindError::Name(NameError::TooLong { length: 2, max: 1 })),
            "invalid_endpoint",
            OPEN,
            "shorter",
        ),
        (bind(&BindError::Name(NameError::Empty)), "invalid_endpoint", OPEN, "--socket"),
        (
            bind(&BindError::PermissionDenied { path: path(), source: Arc::new(denied()) }),
            "permission_denied",
            OPEN,
            "that you can write",
        ),
        (
            bind(&BindError::Unavailable { source: Arc::new(denied()) }),
            "sockets_unavailable",
            OPEN,
            "sandbox",
        ),
        (bind(&BindError::Io { path: path(), source: Arc::new(other()) }), "failed", OPEN, ""),
    ]);
}

#[test]
fn a_server_that_does_not_serve() {
    let unwritable = |source| server(&ServerError::IdentityFile { path: "r".into(), source });
    let waited = Duration::from_secs(5);
    let inner = |error: IdentityFileError| unwritable(error.into());
    check([
        (inner(IdentityFileError::EndpointItself), "identity_file_unwritable", OPEN, "of its own"),
        (inner(IdentityFileError::Busy), "identity_file_unwritable", OPEN, "of its own"),
        (inner(IdentityFileError::NotARegularFile), "identity_file_unwritable", OPEN, "left untouched"),
        (
            inner(IdentityFileError::ForeignDirectory { owner: 1 }),
            "identity_file_unwritable",
            OPEN,
            "clients would not read",
        ),
        (unwritable(ErrorKind::NotFound.into()), "identity_file_unwritable", OPEN, "make the directory"),
        (unwritable(denied()), "identity_file_unwritable", OPEN, "that you can write"),
        (unwritable(other()), "identity_file_unwritable", OPEN, ""),
        (
            server(&ServerError::DrainTimedOut { connections: 1, callbacks: Vec::new(), waited }),
            "drain_timed_out",
            OPEN,
            "connection end",
        ),
        (server(&ServerError::Accept(other())), "failed", OPEN, ""),
    ]);
}

#[test]
fn an_identity_file_that_is_not_taken() {
    let inner = |error: IdentityFileError| identity_file(&error.into());
    let kind = "identity_file_unusable";
    check([
        (inner(IdentityFileError::NotARegularFile), kind, OPEN, "not a link"),
        (inner(IdentityFileError::DirectoryWritableByOthers { mode: 0o777 }), kind, OPEN, "chmod 700"),
        (inner(IdentityFileError::ForeignOwner { owner: 1 }), kind, OPEN, "chooses whom"),
        (inner(IdentityFileError::ForeignDirectory { owner: 1 }), kind, OPEN, "chooses whom"),
        (inner(IdentityFileError::UnmappedUser { uid: 65_534 }), kind, OPEN, "user namespace"),
        (inner(IdentityFileError::WritableByOthers { mode: 0o666 }), kind, OPEN, "chmod 600"),
        (inner(IdentityFileError::TooLarge), kind, OPEN, "writes it anew"),
        (identity_file(&denied()), kind, OPEN, "daemon's own user"),
        (identity_file(&other()), kind, OPEN, ""),
    ]);
}

#[test]
fn a_request_without_a_response() {
    let asked = Asked { protocol: 0xF00D, patience: "--deadline" };
    let of = |error: FrameClientError| request(&error, asked);
    let too_large = FramingError::FrameTooLarge { body_length: 2, cap: 1 };
    let timeout = Duration::from_secs(1);
    check([
        (of(FrameClientError::Disabled), "frames_disabled", OPEN, "unset"),
        (of(FrameClientError::Request(Arc::new(too_large))), "request_too_large", OPEN, "16777216"),
        (of(FrameClientError::Closed), "closed", NO, "0xF00D right?"),
        (of(FrameClientError::TimedOut { timeout }), "timed_out", OPEN, "--deadline"),
        (of(FrameClientError::Stream(Arc::new(other()))), "stream", OPEN, "not known"),
        (of(FrameClientError::Dead), "dead", OPEN, "nothing was sent"),
    ]);
    let refused = |reason| of(FrameClientError::Refused(Refusal::new(reason, "")));
    check([
        (refused(RefusalReason::Overloaded), "overloaded", OPEN, "try again later"),
        (refused(RefusalReason::DeadlinePassed), "deadline_passed", NO, "more time"),
        (refused(RefusalReason::Cancelled), "cancelled", NO, "may have run"),
        (refused(RefusalReason::UnservedProtocol), "unserved_protocol", NO, "0xF00D the right"),
        (refused(RefusalReason::BadEncoding), "bad_encoding", NO, "cannot decode"),
        (refused(RefusalReason::NotAuthorized), "not_authorized", NO, "as its own user"),
        (refused(RefusalReason::HandlerFailed), "handler_failed", NO, "as far as it came"),
        (refused(RefusalReason::ShuttingDown), "shutting_down", NO, "started again"),
        (refused(RefusalReason::AnswerTooLarge), "answer_too_large", NO, "ask for less"),
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
fn what_has_run_out_is_said_wherever_it_stands_among_the_causes() {
    let failure = |source| {
        let error = ProbeError::NotInspectable { pid: 7, source };
        let advice = probe(&error);
        Failure::new(error, advice).context("nothing was sent").advice
    };
    if cfg!(unix) {
        check([
            (failure(io::Error::from_raw_os_error(24)), "too_many_open_files", OPEN, "ulimit -n"),
            (failure(io::Error::from_raw_os_error(23)), "too_many_open_files", OPEN, "whole system"),
        ]);
    }
    check([
        (failure(ErrorKind::OutOfMemory.into()), "out_of_memory", OPEN, "no memory"),
        (failure(ErrorKind::StorageFull.into()), "storage_full", OPEN, "make room"),
        (failure(ErrorKind::ReadOnlyFilesystem.into()), "read_only", OPEN, "can be written"),
        (failure(denied()), "not_inspectable", OPEN, "daemon's own user"),
    ]);
}
