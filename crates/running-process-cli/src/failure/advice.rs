//! The table from errors to names in JSON, verdicts and hints.
//!
//! Programs compare the names, which docs/json.md lists, so a name stays when a message changes. An error has a hint only if the
//! hint follows from it.

pub(crate) mod service;

use crate::text::quoted;
use crate::verdict::Verdict;
use running_process::broker::backend_handle::BackendHandleError;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_sdk::{
    BindError, ConnectError, FrameClientError, IdentityFileError, NameError, ServeError, ServerError,
};
use running_process::broker::protocol::{MAX_FRAME_BYTES, Refusal, RefusalReason};
use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// The advice about one error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Name in JSON.
    pub(crate) kind: &'static str,
    pub(crate) verdict: Verdict,
    /// Instruction for the user, if one follows from the error.
    pub(crate) hint: Option<Cow<'static, str>>,
}

impl Advice {
    /// Creates advice with the verdict [`No`](Verdict::No) and no hint.
    pub(crate) const fn no(kind: &'static str) -> Self {
        Self { kind, verdict: Verdict::No, hint: None }
    }

    /// Creates advice with the verdict [`Undecided`](Verdict::Undecided) and no hint.
    pub(crate) const fn undecided(kind: &'static str) -> Self {
        Self { kind, verdict: Verdict::Undecided, hint: None }
    }

    /// Sets the hint.
    pub(crate) fn hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

const ENDED: &str = "the daemon has ended or is ending: start it again";
const SANDBOX: &str = "a sandbox or a security policy denies local sockets to this process: run it outside";
/// The hint where the file system lacks sockets or locks.
const LOCAL_FILES: &str = "choose a directory on a local file system";

/// Returns the advice about an exhausted resource of this process or of the system, if that is among the causes.
pub(super) fn exhausted(error: &(dyn Error + 'static)) -> Option<Advice> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| exhausted_resource(io_error(error)?))
}

/// Returns `error` as an I/O error, even if it is shared.
fn io_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    error.downcast_ref().or_else(|| error.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref))
}

fn exhausted_resource(error: &io::Error) -> Option<Advice> {
    // EMFILE and ENFILE have these numbers on every Unix; std has no kind for them.
    let advice = match (error.raw_os_error(), error.kind()) {
        (Some(24), _) if cfg!(unix) => Advice::undecided("too_many_open_files")
            .hint("this process has reached its limit of open files: raise the limit (ulimit -n)"),
        (Some(23), _) if cfg!(unix) => Advice::undecided("too_many_open_files")
            .hint("the whole system has reached its limit of open files: end processes that have many open"),
        (_, ErrorKind::OutOfMemory) => {
            Advice::undecided("out_of_memory").hint("the system has no memory left")
        }
        (_, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Advice::undecided("storage_full").hint("free some space, or choose another file system")
        }
        (_, ErrorKind::ReadOnlyFilesystem) => {
            Advice::undecided("read_only").hint("choose a path on a file system that can be written")
        }
        _ => return None,
    };
    Some(advice)
}

/// Returns the advice about a daemon that did not prove itself.
pub(crate) fn probe(error: &ProbeError) -> Advice {
    match error {
        ProbeError::Disabled => Advice::undecided("probes_disabled").hint("unset the variable to probe"),
        ProbeError::Connect(error) => connect(error),
        ProbeError::EndpointMismatch { .. } => {
            Advice::no("endpoint_mismatch").hint("name the identity file of the daemon at that endpoint")
        }
        ProbeError::Gone { .. } => Advice::no("gone").hint(ENDED),
        ProbeError::ReusedPid { .. } => Advice::no("reused_pid")
            .hint("the identity file is outdated: start the daemon again, which rewrites it"),
        ProbeError::OtherBoot { .. } => Advice::no("other_boot")
            .hint("the identity file is outdated: start the daemon again, which rewrites it"),
        ProbeError::Impostor { .. } => impostor(None),
        ProbeError::WrongImage { .. } => Advice::no("wrong_image")
            .hint("the identity file is not this daemon's: restart the daemon, which rewrites it"),
        ProbeError::OtherImage { .. } => {
            Advice::no("other_image").hint("the daemon has replaced its own executable meanwhile: probe again")
        }
        ProbeError::Mismatch(_) => Advice::no("other_identity")
            .hint("the identity file is not this daemon's: restart the daemon, which rewrites it"),
        ProbeError::OtherNamespace { .. } => Advice::undecided("other_namespace")
            .hint("the daemon runs in another container: run this command inside it, or start a daemon here"),
        ProbeError::NotInspectable { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Advice::undecided("not_inspectable")
                .hint("run this command as the daemon's user or as root, or accept less proof with --policy lenient")
        }
        ProbeError::NotInspectable { .. } => {
            Advice::undecided("not_inspectable").hint("accept less proof with --policy lenient")
        }
        ProbeError::Policy(_) => Advice::undecided("policy")
            .hint("accept less proof with --policy default or lenient, or restart the daemon"),
        ProbeError::TimedOut => Advice::undecided("timed_out")
            .hint("the daemon is busy, stopped, or does not answer probes: try a longer --deadline"),
        ProbeError::Closed => Advice::undecided("closed").hint(
            "the daemon's process lives and listens: it may have reached its limit of connections or be ending; try \
             again later",
        ),
        ProbeError::Framing(_) | ProbeError::Response(_) | ProbeError::Unasked { .. } => {
            Advice::no("no_probe_answer")
                .hint("the process at the endpoint does not speak this protocol: is this the right daemon?")
        }
        ProbeError::Stream(_) => Advice::undecided("stream"),
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about another process in the place of the daemon. `stopped` is the daemon's process if a signal has stopped it.
pub(crate) fn impostor(stopped: Option<u32>) -> Advice {
    let then = stopped.map_or_else(
        || "look at it and end it, then start the daemon again".to_owned(),
        |pid| format!("1. look at it and end it, 2. let the daemon, which is stopped by a signal, go on: kill -CONT {pid}"),
    );
    Advice::no("impostor").hint(format!(
        "another process than the daemon in the identity file answers: {then}; nothing was started or stopped"
    ))
}

/// Returns the advice about a process whose claim, without an identity file, the kernel does not confirm.
pub(crate) fn claim(error: &ProbeError) -> Advice {
    match error {
        ProbeError::Impostor { .. } => Advice::no("impostor").hint(
            "it answers for another process: a proxy such as socat, a child of the daemon, or an impostor; probe the daemon's \
             own socket",
        ),
        ProbeError::Gone { .. } | ProbeError::ReusedPid { .. } | ProbeError::OtherBoot { .. } => Advice {
            hint: Some("it repeats the identity of a daemon that has ended: do not trust it".into()),
            ..probe(error)
        },
        ProbeError::WrongImage { .. } => Advice::no("wrong_image")
            .hint("it claims to be a program that it does not run: do not trust it"),
        ProbeError::Framing(_) | ProbeError::Response(_) | ProbeError::Unasked { .. } => {
            Advice::undecided("no_probe_answer").hint("it speaks another protocol; what it is, its program tells")
        }
        ProbeError::TimedOut => Advice::undecided("timed_out")
            .hint("it is busy or stopped, or speaks another protocol: try a longer --deadline"),
        ProbeError::Closed => Advice::undecided("closed")
            .hint("it speaks another protocol, or accepts no more connections"),
        ProbeError::Connect(ConnectError::NotFound { .. }) => Advice::no("no_endpoint")
            .hint("no socket is there: `running-process ps --all` lists those that are"),
        ProbeError::Connect(ConnectError::Refused { .. }) => {
            Advice::no("no_listener").hint("the process that made the socket has ended, or does not listen any more")
        }
        ProbeError::Connect(ConnectError::Name(_)) => Advice::undecided("invalid_endpoint"),
        ProbeError::Connect(ConnectError::NotASocket { .. }) => {
            Advice::undecided("not_a_socket").hint("without --socket, `probe` takes a file for an identity file")
        }
        error => probe(error),
    }
}

/// Returns the advice about an endpoint that could not be connected to.
pub(crate) fn connect(error: &ConnectError) -> Advice {
    match error {
        ConnectError::Name(_) => Advice::no("invalid_endpoint").hint(
            "the identity file names an endpoint that this system cannot have: restart the daemon here",
        ),
        ConnectError::NotFound { .. } => Advice::no("no_endpoint").hint(ENDED),
        ConnectError::Refused { .. } => Advice::no("no_listener").hint(ENDED),
        ConnectError::BacklogFull { .. } => {
            Advice::undecided("backlog_full").hint("the daemon is overloaded or stopped: try again later")
        }
        ConnectError::NotASocket { .. } => Advice::no("not_a_socket").hint(
            "another file has replaced the daemon's socket: move it away and start the daemon again",
        ),
        ConnectError::PermissionDenied { .. } => Advice::undecided("permission_denied").hint(
            "run this command as the daemon's user: the mode of the socket or of a directory above denies access",
        ),
        ConnectError::Sandboxed { .. } => Advice::undecided("sandboxed").hint(SANDBOX),
        ConnectError::Unavailable { .. } => Advice::undecided("sockets_unavailable").hint(SANDBOX),
        _ => Advice::undecided("stream"),
    }
}

/// Returns the advice about a daemon that could not be verified again, or could not be ended.
pub(crate) fn handle(error: &BackendHandleError) -> Advice {
    match error {
        BackendHandleError::Probe(error) => probe(error),
        _ => Advice::undecided("process"),
    }
}

/// Returns the advice about an endpoint that could not be bound.
pub(crate) fn bind(error: &BindError) -> Advice {
    match error {
        BindError::InUse { .. } => Advice::undecided("in_use")
            .hint("another daemon serves this endpoint: stop that daemon, or choose another --socket"),
        BindError::NotASocket { .. } => Advice::undecided("not_a_socket")
            .hint("the file was not changed: choose another --socket, or move the file away"),
        BindError::NotALock { .. } => Advice::undecided("lock_unusable")
            .hint("the file was not changed: choose another --socket, or move the file away"),
        BindError::Lock { .. } => {
            Advice::undecided("lock_unusable").hint("correct the lock file, or choose another --socket")
        }
        BindError::HeldByChild { .. } => {
            Advice::undecided("held_by_child").hint("end that process, or choose another --socket")
        }
        BindError::Directory { .. } => {
            Advice::undecided("directory_of_others").hint("use a directory of mode 700 that belongs to you")
        }
        BindError::NoDirectory { .. } => {
            Advice::undecided("no_directory").hint("create the directory first, with mode 700")
        }
        BindError::Name(NameError::TooLong { .. }) => {
            Advice::undecided("invalid_endpoint").hint("choose a shorter path, for example under /tmp")
        }
        BindError::Name(_) => {
            Advice::undecided("invalid_endpoint").hint("give --socket the path of a new socket")
        }
        BindError::PermissionDenied { .. } => {
            Advice::undecided("permission_denied").hint("choose a --socket in a directory that you can write")
        }
        BindError::Unavailable { .. } => Advice::undecided("sockets_unavailable").hint(SANDBOX),
        BindError::NoSockets { .. } => Advice::undecided("no_sockets").hint(LOCAL_FILES),
        BindError::NoLocks { .. } => Advice::undecided("no_locks").hint(LOCAL_FILES),
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about a server that did not start, or did not end cleanly.
pub(crate) fn server(error: &ServerError) -> Advice {
    match error {
        ServerError::IdentityFile { source, .. } => identity_path(source, "--identity"),
        ServerError::Identity(_) => Advice::undecided("not_identified"),
        ServerError::Start(_) => Advice::undecided("failed")
            .hint("the user or this process may be at its limit of threads (ulimit -u) or of open files (ulimit -n)"),
        ServerError::DrainTimedOut { .. } => {
            Advice::undecided("drain_timed_out").hint("the clients of these connections see end of stream")
        }
        _ => Advice::undecided("failed"),
    }
}

/// Returns the advice about an identity file that cannot be written; `option` is the one that names it.
pub(crate) fn identity_path(error: &io::Error, option: &str) -> Advice {
    let unwritable = Advice::undecided("identity_file_unwritable");
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(IdentityFileError::InUse { .. } | IdentityFileError::EndpointItself) => {
            unwritable.hint(format!("give each daemon its own {option}"))
        }
        Some(
            IdentityFileError::ForeignDirectory { .. } | IdentityFileError::DirectoryWritableByOthers { .. },
        ) => unwritable
            .hint("clients would not read the file there: use a directory of mode 700 that belongs to you"),
        Some(IdentityFileError::Busy) => unwritable.hint(format!("give each daemon its own {option}")),
        Some(_) => unwritable
            .hint(format!("the file was not changed: choose another {option}, or move the file away")),
        None => match error.kind() {
            ErrorKind::NotFound => {
                unwritable.hint(format!("create the directory of {option} first, with mode 700"))
            }
            ErrorKind::PermissionDenied => {
                unwritable.hint(format!("choose a file for {option} in a directory that you can write"))
            }
            _ => unwritable,
        },
    }
}

/// Returns the name of an error of a server in JSON, as docs/observe.md lists it; `other` for unknown ones.
pub(crate) fn error(error: &ServeError) -> &'static str {
    match error {
        ServeError::TooManyConnections { .. } => "too_many_connections",
        ServeError::TooManyRequests { .. } => "too_many_requests",
        ServeError::OutOfMemory { .. } => "out_of_memory",
        ServeError::NotAuthorized { .. } => "not_authorized",
        ServeError::Accept(_) => "accept",
        ServeError::Connection(_) => "connection_ended",
        ServeError::Stream(_) => "connection_failed",
        ServeError::LegacyNotServed => "legacy_not_served",
        ServeError::Handler { .. } => "handler_failed",
        ServeError::HandlerPanicked => "handler_panicked",
        _ => "other",
    }
}

/// Returns the advice about an identity file that is not accepted.
pub(crate) fn identity_file(error: &io::Error) -> Advice {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let unusable = Advice::undecided("identity_file_unusable");
    match inner {
        Some(IdentityFileError::NotARegularFile) => {
            unusable.hint("name the file itself, not a link or a directory")
        }
        Some(IdentityFileError::DirectoryWritableByOthers { .. }) => {
            unusable.hint("if you trust its files: chmod 700 the directory")
        }
        Some(IdentityFileError::ForeignOwner { .. } | IdentityFileError::ForeignDirectory { .. }) => unusable.hint(
            "the owner of the file chooses the daemon that you connect to: run this command as that user, or restart the daemon as yours",
        ),
        Some(IdentityFileError::UnmappedUser { .. }) => unusable.hint(
            "run this command outside that user namespace, or map this user in it: unshare --map-current-user",
        ),
        Some(IdentityFileError::WritableByOthers { .. }) => {
            unusable.hint("if you trust its content: chmod 600 the file")
        }
        Some(IdentityFileError::TooLarge | IdentityFileError::Malformed(_)) => {
            unusable.hint("is this the daemon's identity file? the daemon rewrites it when it restarts")
        }
        None if error.kind() == ErrorKind::PermissionDenied => unusable
            .hint("run this command as the daemon's user: the mode of the file or of a directory above denies access"),
        Some(_) | None => unusable,
    }
}

/// The context of a request's failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext {
    pub(crate) protocol: u32,
    /// Command-line option that sets the time to wait for a response.
    pub(crate) timeout_option: &'static str,
}

/// Returns the advice about a request that has no response.
pub(crate) fn request(error: &FrameClientError, context: RequestContext) -> Advice {
    let RequestContext { protocol, timeout_option } = context;
    match error {
        FrameClientError::Disabled => {
            Advice::undecided("frames_disabled").hint("unset the variable to send requests")
        }
        FrameClientError::Connect(error) => connect(error),
        FrameClientError::Request(_) => Advice::undecided("request_too_large").hint(too_large()),
        FrameClientError::Refused(refusal) => refused(refusal, protocol),
        FrameClientError::Closed => Advice::no("closed").hint(format!(
            "the daemon has ended, or it closed the connection because it does not serve payload protocol \
             0x{protocol:04X}: check the protocol"
        )),
        FrameClientError::NotReceived => Advice::undecided("not_received").hint(format!(
            "the request has not run, so it can be sent again, unless the daemon does not serve payload protocol \
             0x{protocol:04X}"
        )),
        FrameClientError::Connection(_) => {
            Advice::no("not_this_protocol").hint("the daemon violates the protocol: is it up to date?")
        }
        FrameClientError::TimedOut { .. } => Advice::undecided("timed_out")
            .hint(format!("the daemon may still run the request: wait longer with {timeout_option}")),
        FrameClientError::Stream(_) => {
            Advice::undecided("stream").hint("the daemon may have run the request")
        }
        FrameClientError::TooManyEvents { .. } => {
            Advice::undecided("too_many_events").hint("the daemon may have run the request")
        }
        FrameClientError::TooManyResponses { .. } => Advice::undecided("too_many_responses"),
        FrameClientError::Dead => {
            Advice::undecided("dead").hint("nothing was sent: the connection had ended before")
        }
        _ => Advice::undecided("failed").hint("the daemon may have run the request"),
    }
}

/// Returns the hint about a request that no frame can carry.
pub(crate) fn too_large() -> String {
    format!("a frame carries at most {MAX_FRAME_BYTES} bytes, envelope included")
}

/// Returns the reason of a refusal that has none that this version knows: the daemon's text; `None` for any other error.
pub(super) fn without_code(error: &FrameClientError) -> Option<String> {
    let FrameClientError::Refused(refusal) = error else { return None };
    if refusal.reason() != RefusalReason::Unspecified {
        return None;
    }
    let mut text = match refusal.reason {
        0 => "the daemon gives no reason code".to_owned(),
        code => format!("this version does not know the daemon's reason code {code}"),
    };
    if !refusal.message.is_empty() {
        let _infallible = write!(text, "; its text is {}", quoted(&refusal.message));
    }
    if let Some(ms) = refusal.retry_after_ms {
        let _infallible = write!(text, "; it may be served after {ms} ms");
    }
    Some(text)
}

fn refused(refusal: &Refusal, protocol: u32) -> Advice {
    match refusal.reason() {
        RefusalReason::Overloaded => {
            let when =
                refusal.retry_after_ms.map_or_else(|| "later".to_owned(), |ms| format!("after {ms} ms"));
            Advice::undecided("overloaded")
                .hint(format!("the daemon is overloaded and has not run the request: try again {when}"))
        }
        RefusalReason::DeadlinePassed => Advice::no("deadline_passed")
            .hint("the daemon may have run a part of the request: allow more time"),
        RefusalReason::Cancelled => {
            Advice::no("cancelled").hint("the daemon may have run a part of the request")
        }
        RefusalReason::UnservedProtocol => Advice::no("unserved_protocol").hint(format!(
            "the daemon has not run the request: is 0x{protocol:04X} the right payload protocol?"
        )),
        RefusalReason::BadEncoding => Advice::no("bad_encoding")
            .hint("the daemon has not run the request: it cannot decode the payload"),
        RefusalReason::NotAuthorized => Advice::no("not_authorized")
            .hint("the daemon does not serve this user and has not run the request: run this command as the daemon's user"),
        RefusalReason::HandlerFailed => {
            Advice::no("handler_failed").hint("the daemon has run at least a part of the request: see its log")
        }
        RefusalReason::ShuttingDown => Advice::no("shutting_down")
            .hint("the daemon has not run the request: send it again after the daemon has restarted"),
        RefusalReason::AnswerTooLarge => Advice::no("answer_too_large")
            .hint("the daemon has run the request, but its response does not fit a frame: request less"),
        RefusalReason::Unspecified => {
            Advice::no("refused").hint("the daemon may have run a part of the request")
        }
    }
}

#[cfg(test)]
mod tests;
