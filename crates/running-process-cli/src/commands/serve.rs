//! `serve`: the demo's daemon, in the foreground.

use super::CACHE_PROTOCOL;
use crate::cache::is_resp;
use crate::cache::session::{Next, Session, execute_payload};
use crate::cache::store::Store;
use crate::cli::ServeArgs;
use crate::failure::{Failure, Verdict, advice, with_causes};
use crate::output::background::Background;
use crate::output::text::safe;
use crate::output::{Output, object_line};
use crate::wire::counted;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{
    LegacyClassification, LegacyConnection, Server, ServerError, ServerTrouble, check_daemon_identity_path,
};
use running_process::broker::protocol::{Endpoint, MAX_FRAME_BYTES};
use serde_json::json;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The endpoint's namespace id.
pub(super) const NAMESPACE: &str = "running-process-demo";

/// How much is read from a legacy connection at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// The largest unfinished request that a legacy connection may pile up, in bytes; far above the frames' own limit.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

type Cache = Arc<Mutex<Store>>;

/// Longest wait at the end for messages that the reader does not take.
const LAST_MESSAGES: Duration = Duration::from_millis(500);

pub(super) fn run(arguments: &ServeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let log = Log::start(output.is_json())?;
    let verdict = match serve(arguments, &log) {
        Ok(()) => Verdict::Yes,
        Err(failure) => {
            log.failure(&failure);
            failure.verdict()
        }
    };
    log.stdout.finish(LAST_MESSAGES);
    log.stderr.finish(LAST_MESSAGES);
    Ok(verdict)
}

fn serve(arguments: &ServeArgs, log: &Log) -> Result<(), Failure> {
    let endpoint = endpoint(&arguments.socket)?;
    let cache = Cache::new(Mutex::new(Store::new(Instant::now())));
    let framed = Arc::clone(&cache);
    let identity = std::path::absolute(&arguments.identity)?;
    // Checked before the daemon creates any file.
    check_daemon_identity_path(&identity, &endpoint)
        .map_err(|source| failed(ServerError::Record { path: identity.clone(), source }))?;
    let (troubles, panics, ready) = (log.clone(), log.clone(), log.clone());
    std::panic::set_hook(Box::new(move |panic| panics.stderr.say(format!("{panic}\n").into_bytes())));
    let server = Server::bind(endpoint)
        .map_err(|error| {
            let advice = advice::bind(&error);
            Failure::new(error, advice).context("the endpoint cannot be served")
        })?
        .record(&identity)
        .serve(CACHE_PROTOCOL, move |request| {
            Ok(fit_frame(execute_payload(&mut lock(&framed), request.payload(), Instant::now())))
        })
        .legacy(detect, move |connection| speak_resp(&cache, connection))
        .observe(move |trouble| troubles.trouble(trouble))
        .stop_on_signals()
        .map_err(|error| Failure::from(error).context("signals cannot be handled"))?;
    let server = server.on_ready(move |daemon| ready.ready(daemon, &identity));
    server.run().map_err(failed)
}

fn failed(error: ServerError) -> Failure {
    let advice = advice::server(&error);
    Failure::new(error, advice)
}

/// The daemon's messages. Sending one never waits for a reader.
#[derive(Clone)]
struct Log {
    json: bool,
    stdout: Background,
    stderr: Background,
}

impl Log {
    fn start(json: bool) -> io::Result<Self> {
        let notice = if json {
            |messages: u64| object_line(&json!({ "event": "dropped", "messages": messages }))
        } else {
            |messages: u64| {
                format!("{} dropped, which nobody read\n", counted(messages, "message")).into_bytes()
            }
        };
        Ok(Self {
            json,
            stdout: Background::start(io::stdout(), notice)?,
            stderr: Background::start(io::stderr(), notice)?,
        })
    }

    fn ready(&self, daemon: &DaemonProcess, identity: &Path) {
        let socket = &daemon.ipc_endpoint.path;
        self.stdout.say(if self.json {
            object_line(&json!({
                "event": "ready",
                "pid": daemon.pid,
                "socket": socket,
                "identity": identity.display().to_string(),
                "protocol": CACHE_PROTOCOL,
            }))
        } else {
            let (socket, identity) = (safe(socket), safe(identity.display()));
            format!("ready: pid {} serves {socket} and is described in {identity}\n", daemon.pid).into_bytes()
        });
    }

    fn trouble(&self, trouble: &ServerTrouble) {
        self.stderr.say(if self.json {
            let kind = advice::trouble(trouble);
            object_line(&json!({ "event": "trouble", "kind": kind, "error": with_causes(trouble) }))
        } else {
            format!("{}\n", with_causes(trouble)).into_bytes()
        });
    }

    fn failure(&self, failure: &Failure) {
        self.stderr.say(failure.line(self.json));
    }
}

/// The endpoint named on the command line; a relative path is made absolute, since clients stand elsewhere.
fn endpoint(name: &str) -> Result<Endpoint, Failure> {
    let made = if cfg!(windows) {
        Endpoint::windows_pipe(NAMESPACE, name)
    } else {
        // An empty name stays empty, for the constructor to refuse.
        let path = if name.is_empty() { PathBuf::new() } else { std::path::absolute(name)? };
        let path = path.to_str().ok_or_else(|| {
            Failure::usage(format!("the path {} is not UTF-8", path.display()))
                .hint("an identity file can only name a socket in UTF-8: choose another directory")
        })?;
        Endpoint::unix_socket(NAMESPACE, path)
    };
    made.map_err(|error| Failure::usage(error).hint("give --socket the path of a socket to make"))
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
