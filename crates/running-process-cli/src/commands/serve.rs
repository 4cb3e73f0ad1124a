//! `serve`: the demo's daemon, in the foreground.

use super::CACHE_PROTOCOL;
use crate::cache::is_resp;
use crate::cache::session::{Next, Session, execute_payload};
use crate::cache::store::Store;
use crate::cli::ServeArgs;
use crate::failure::{Failure, Verdict, with_causes};
use crate::output::Output;
use running_process::broker::backend_sdk::{
    BindError, IdentityFileError, LegacyClassification, LegacyConnection, NameError, Server, ServerError,
    ServerTrouble, check_daemon_identity_path,
};
use running_process::broker::protocol::{Endpoint, MAX_FRAME_BYTES};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The endpoint's namespace id.
pub(super) const NAMESPACE: &str = "running-process-demo";

/// How much is read from a legacy connection at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// The largest unfinished request that a legacy connection may pile up, in bytes; far above the frames' own limit.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

type Cache = Arc<Mutex<Store>>;

pub(super) fn run(arguments: &ServeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let endpoint = endpoint(&arguments.socket)?;
    let cache = Cache::new(Mutex::new(Store::new(Instant::now())));
    let framed = Arc::clone(&cache);
    let json = output.is_json();
    let identity = std::path::absolute(&arguments.identity)?;
    // Before anything is made.
    check_daemon_identity_path(&identity, &endpoint)
        .map_err(|source| server_failure(ServerError::Record { path: identity.clone(), source }))?;
    let server = Server::bind(endpoint)
        .map_err(bind_failure)?
        .record(&identity)
        .serve(CACHE_PROTOCOL, move |request| {
            Ok(fit_frame(execute_payload(&mut lock(&framed), request.payload(), Instant::now())))
        })
        .legacy(detect, move |connection| speak_resp(&cache, connection))
        .observe(report)
        .stop_on_signals()
        .map_err(|error| Failure::undecided(error).context("signals cannot be handled"))?;
    let mut ready = Output::new(json);
    let server = server.on_ready(move |daemon| {
        let identity = identity.display();
        // A reader of the first line who is gone does not stop the daemon.
        let _reader_gone = ready.line(format_args!(
            "ready: pid {} serves {} and is described in {identity}",
            daemon.pid, daemon.ipc_endpoint.path
        ));
        let _reader_gone = ready.object(serde_json::json!({
            "event": "ready",
            "pid": daemon.pid,
            "socket": daemon.ipc_endpoint.path,
            "identity": identity.to_string(),
            "protocol": CACHE_PROTOCOL,
        }));
    });
    server.run().map_err(server_failure)?;
    Ok(Verdict::Yes)
}

/// The endpoint named on the command line; a relative path is made absolute, since clients stand elsewhere.
fn endpoint(name: &str) -> Result<Endpoint, Failure> {
    let made = if cfg!(windows) {
        Endpoint::windows_pipe(NAMESPACE, name)
    } else {
        // An empty name stays empty, for the constructor to refuse.
        let path = if name.is_empty() { PathBuf::new() } else { std::path::absolute(name)? };
        let path = path.to_str().ok_or_else(|| {
            Failure::undecided(format!("the path {} is not UTF-8", path.display()))
                .hint("an identity file can only name a socket in UTF-8: choose another directory")
        })?;
        Endpoint::unix_socket(NAMESPACE, path)
    };
    made.map_err(|error| Failure::undecided(error).hint("give --socket the path of a socket to make"))
}

fn detect(buffer: &[u8]) -> LegacyClassification {
    if is_resp(buffer) { LegacyClassification::Legacy } else { LegacyClassification::NotLegacy }
}

/// The reply, or an error in its place if no frame can carry it.
fn fit_frame(reply: Vec<u8>) -> Vec<u8> {
    /// More than the rest of a response's envelope takes without trace context.
    const ENVELOPE_BYTES: usize = 64;
    if reply.len() <= MAX_FRAME_BYTES - ENVELOPE_BYTES {
        reply
    } else {
        format!("-ERR the reply is {} bytes, a frame carries {MAX_FRAME_BYTES}\r\n", reply.len()).into_bytes()
    }
}

/// One legacy connection, from its first byte to its last.
fn speak_resp(cache: &Cache, mut connection: LegacyConnection) {
    let mut session = Session::open(&mut lock(cache));
    // The peer is gone, which is how every legacy connection ends but for QUIT.
    let _peer_gone = converse(cache, &mut session, &mut connection);
    session.close(&mut lock(cache));
}

fn converse(cache: &Cache, session: &mut Session, connection: &mut LegacyConnection) -> io::Result<()> {
    let mut input = Vec::new();
    let mut replies = Vec::new();
    let mut bytes = [0; READ_BYTES];
    loop {
        let outcome = session.receive(&mut lock(cache), &input, Instant::now(), &mut replies);
        input.drain(..outcome.consumed);
        connection.write_all(&replies)?;
        replies.clear();
        match outcome.next {
            Next::Close => return Ok(()),
            Next::Resume => {}
            Next::Read => match connection.read(&mut bytes)? {
                0 => return Ok(()),
                _ if input.len() > MAX_REQUEST_BYTES => {
                    return connection.write_all(b"-ERR Protocol error: too big request\r\n");
                }
                length => input.extend_from_slice(&bytes[..length]),
            },
        }
    }
}

fn lock(cache: &Cache) -> MutexGuard<'_, Store> {
    // A command that panicked has answered nothing; the entries it left are whole.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(trouble: &ServerTrouble) {
    // Where nobody reads standard error, nobody is to be told.
    let _unsaid = writeln!(io::stderr(), "{}", with_causes(trouble));
}

fn bind_failure(error: BindError) -> Failure {
    let hint = match &error {
        BindError::InUse { .. } => "another daemon serves it; stop that one, or choose another --socket",
        BindError::HeldByChild { .. } => "end that process, or choose another --socket",
        BindError::Directory { .. } => "use a directory of mode 700 that belongs to you",
        BindError::Lock { .. } | BindError::NotALock { .. } => "see to the lock, or choose another --socket",
        BindError::NotASocket { .. } => "it was left untouched; choose another --socket, or move it away",
        BindError::NoDirectory { .. } => "make the directory first, readable by you alone (mode 700)",
        BindError::Name(NameError::TooLong { .. }) => "choose a shorter path, for example under /tmp",
        _ => "choose a --socket in a directory that you can write",
    };
    Failure::undecided(error).context("the endpoint cannot be served").hint(hint)
}

fn server_failure(error: ServerError) -> Failure {
    let hint = match &error {
        ServerError::Record { source, .. } => record_hint(source),
        ServerError::DrainTimedOut { .. } => "their clients see the connection end",
        _ => "run it again; if it stays, the message above says what the system refused",
    };
    Failure::undecided(error).hint(hint)
}

fn record_hint(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(IdentityFileError::InUse { .. } | IdentityFileError::EndpointItself) => {
            "give each daemon an --identity of its own"
        }
        Some(
            IdentityFileError::ForeignDirectory { .. } | IdentityFileError::DirectoryWritableByOthers { .. },
        ) => "clients would not read it there: use a directory of mode 700 that belongs to you",
        Some(_) => "it was left untouched; choose another --identity, or move it away",
        None if error.kind() == io::ErrorKind::NotFound => {
            "make the directory first, readable by you alone (mode 700)"
        }
        None => "choose an --identity in a directory that you can write",
    }
}
