//! `serve`: runs the demo's daemon in the foreground.

use super::daemon_log::{self, DaemonLog};
use crate::cli::ServeArgs;
use crate::failure::{Failure, advice};
use crate::output::Output;
use crate::services::Selected;
use crate::text::safe;
use crate::verdict::Verdict;
use resp_cache::Cache;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{Server, ServerError, check_daemon_identity_path};
use running_process::broker::protocol::Endpoint;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The endpoint's namespace id.
pub(super) const NAMESPACE: &str = "running-process-demo";

const WAYS: &str = "give --service, or both --socket and --identity";

pub(super) fn run(arguments: &ServeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    daemon_log::run(output.is_json(), |log| serve(arguments, log))
}

fn serve(arguments: &ServeArgs, log: &DaemonLog) -> Result<(), Failure> {
    let (server, identity_file) = match arguments {
        ServeArgs { service_file: Some(file), .. } => for_service(file)?,
        ServeArgs { socket: Some(socket), identity_file: Some(identity_file), .. } => {
            bind(socket, identity_file)?
        }
        _ => return Err(Failure::usage("the daemon has no place").hint(WAYS)),
    };
    let (errors, messages) = (log.clone(), log.clone());
    resp_cache::attach(server, &Cache::new())
        .observe(move |error| errors.error(error))
        .on_ready(move |daemon| ready(&messages, daemon, &identity_file))
        .run()
        .map_err(failed)
}

fn ready(log: &DaemonLog, daemon: &DaemonProcess, identity_file: &Path) {
    let socket = &daemon.ipc_endpoint.path;
    let object = json!({
        "event": "ready",
        "pid": daemon.pid,
        "socket": socket,
        "identity_file": identity_file.display().to_string(),
        "protocol": resp_cache::PAYLOAD_PROTOCOL,
    });
    let (socket, identity_file) = (safe(socket), safe(identity_file.display()));
    log.ready(format!("ready: pid {} serves {socket}, identity file {identity_file}\n", daemon.pid), &object);
}

/// Returns the server of an endpoint, and the path of its identity file.
fn bind(socket: &str, identity_file: &Path) -> Result<(Server, PathBuf), Failure> {
    let endpoint = endpoint(socket)?;
    let identity_file = std::path::absolute(identity_file)?;
    // The check comes before the daemon creates any file.
    check_daemon_identity_path(&identity_file, &endpoint)
        .map_err(|source| failed(ServerError::IdentityFile { path: identity_file.clone(), source }))?;
    let server = Server::bind(endpoint).map_err(|error| {
        let advice = advice::bind(&error);
        Failure::new(error, advice).context("the endpoint cannot be served")
    })?;
    let server = server
        .identity_file(&identity_file)
        .stop_on_signals()
        .map_err(|error| Failure::from(error).context("signals cannot be handled"))?;
    Ok((server, identity_file))
}

/// Returns the server of the service in this file, and the path of its identity file.
fn for_service(file: &Path) -> Result<(Server, PathBuf), Failure> {
    let selected = Selected::of_file(file)?;
    let service = &selected.service;
    let failed = |error| {
        let advice = advice::service::for_service(&error, &selected.argument);
        Failure::new(error, advice).context(format!("this process is not the daemon of {}", service.name()))
    };
    let identity_file = service.identity_file().map_err(|error| failed(error.into()))?;
    let server = Server::for_service(service).map_err(failed)?;
    Ok((server, identity_file))
}

fn failed(error: ServerError) -> Failure {
    let advice = advice::server(&error);
    Failure::new(error, advice)
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
