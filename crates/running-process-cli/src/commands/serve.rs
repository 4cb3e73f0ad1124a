//! `serve`: runs the demo's daemon in the foreground.

use crate::cli::ServeArgs;
use crate::failure::{Failure, advice, with_causes};
use crate::json::object_line;
use crate::message_writer::MessageWriter;
use crate::output::Output;
use crate::text::safe;
use crate::verdict::Verdict;
use crate::wire::counted;
use resp_cache::Cache;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{ServeError, Server, ServerError, check_daemon_identity_path};
use running_process::broker::protocol::Endpoint;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The endpoint's namespace id.
pub(super) const NAMESPACE: &str = "running-process-demo";

/// Longest wait at the end for messages to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn run(arguments: &ServeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let log = Log::start(output.is_json())?;
    let verdict = match serve(arguments, &log) {
        Ok(()) => Verdict::Yes,
        Err(failure) => {
            log.failure(&failure);
            failure.verdict()
        }
    };
    log.stdout.finish(FLUSH_TIMEOUT);
    log.stderr.finish(FLUSH_TIMEOUT);
    Ok(verdict)
}

fn serve(arguments: &ServeArgs, log: &Log) -> Result<(), Failure> {
    let endpoint = endpoint(&arguments.socket)?;
    let identity_file = std::path::absolute(&arguments.identity_file)?;
    // The check comes before the daemon creates any file.
    check_daemon_identity_path(&identity_file, &endpoint)
        .map_err(|source| failed(ServerError::IdentityFile { path: identity_file.clone(), source }))?;
    let (troubles, panics, ready) = (log.clone(), log.clone(), log.clone());
    std::panic::set_hook(Box::new(move |panic| panics.stderr.send(format!("{panic}\n").into_bytes())));
    let server = Server::bind(endpoint).map_err(|error| {
        let advice = advice::bind(&error);
        Failure::new(error, advice).context("the endpoint cannot be served")
    })?;
    let server = resp_cache::attach(server, &Cache::new())
        .identity_file(&identity_file)
        .observe(move |trouble| troubles.trouble(trouble))
        .stop_on_signals()
        .map_err(|error| Failure::from(error).context("signals cannot be handled"))?;
    let server = server.on_ready(move |daemon| ready.ready(daemon, &identity_file));
    server.run().map_err(failed)
}

fn failed(error: ServerError) -> Failure {
    let advice = advice::server(&error);
    Failure::new(error, advice)
}

/// The daemon's messages on standard output and standard error. No method waits for a reader.
#[derive(Clone)]
struct Log {
    json: bool,
    stdout: MessageWriter,
    stderr: MessageWriter,
}

impl Log {
    fn start(json: bool) -> io::Result<Self> {
        let notice = if json {
            |messages: u64| object_line(&json!({ "event": "dropped", "messages": messages }))
        } else {
            |messages: u64| {
                format!("{} dropped because the reader is too slow\n", counted(messages, "message"))
                    .into_bytes()
            }
        };
        Ok(Self {
            json,
            stdout: MessageWriter::start(io::stdout(), notice)?,
            stderr: MessageWriter::start(io::stderr(), notice)?,
        })
    }

    fn ready(&self, daemon: &DaemonProcess, identity_file: &Path) {
        let socket = &daemon.ipc_endpoint.path;
        self.stdout.send(if self.json {
            object_line(&json!({
                "event": "ready",
                "pid": daemon.pid,
                "socket": socket,
                "identity_file": identity_file.display().to_string(),
                "protocol": resp_cache::PAYLOAD_PROTOCOL,
            }))
        } else {
            let (socket, identity_file) = (safe(socket), safe(identity_file.display()));
            format!("ready: pid {} serves {socket}, identity file {identity_file}\n", daemon.pid).into_bytes()
        });
    }

    fn trouble(&self, trouble: &ServeError) {
        self.stderr.send(if self.json {
            let kind = advice::trouble(trouble);
            object_line(&json!({ "event": "trouble", "kind": kind, "error": with_causes(trouble) }))
        } else {
            format!("{}\n", with_causes(trouble)).into_bytes()
        });
    }

    fn failure(&self, failure: &Failure) {
        self.stderr.send(failure.line(self.json));
    }
}

/// Returns the endpoint named on the command line. A relative path becomes absolute, since clients have other directories.
fn endpoint(name: &str) -> Result<Endpoint, Failure> {
    let made = if cfg!(windows) {
        Endpoint::windows_pipe(NAMESPACE, name)
    } else {
        // The constructor refuses an empty name.
        let path = if name.is_empty() { PathBuf::new() } else { std::path::absolute(name)? };
        let path = path.to_str().ok_or_else(|| {
            Failure::usage(format!("the path {} is not UTF-8", path.display()))
                .hint("an identity file can only name a path in UTF-8: choose another directory")
        })?;
        Endpoint::unix_socket(NAMESPACE, path)
    };
    made.map_err(|error| Failure::usage(error).hint("give --socket the path of a new socket"))
}
