//! A daemon at an endpoint of its own that knows nothing of services, and a client of it.

use crate::report::{chain, variant};
use running_process::HandlerError;
use running_process::broker::backend_sdk::{AsyncServer, Payload, Server, ServerConfig};
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::Driver;
use running_process_acceptance::session::{FILE, SLOW, SLOW_TIME, Session, SessionError, WRITE, WRITTEN};
use running_process_acceptance::wire::{self, SHOUT};
use serde_json::{Value, json};
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Write, stderr, stdout};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Serves until it is asked to end, prints the outcome, and ends with 1 after an error.
pub(crate) fn serve(arguments: &[OsString]) -> ! {
    let [_marker, driver, socket, identity_file, file] = arguments else {
        panic!("usage: endpoint MARKER blocking|tokio SOCKET IDENTITY FILE")
    };
    let socket = socket.to_str().unwrap().to_owned();
    let (identity_file, file) = (PathBuf::from(identity_file), PathBuf::from(file));
    end(match Driver::named(driver.to_str().unwrap()) {
        Driver::Blocking => serve_blocking(socket, identity_file, file),
        Driver::Tokio => serve_on_tokio(socket, identity_file, file),
    })
}

/// Runs one session, prints its outcome, and ends with 1 after an error.
pub(crate) fn exchange(arguments: &[OsString]) -> ! {
    let [_marker, driver, identity_file, millis] = arguments else {
        panic!("usage: exchange MARKER blocking|tokio IDENTITY TIMEOUT_MS")
    };
    let driver = Driver::named(driver.to_str().unwrap());
    let timeout = Duration::from_millis(millis.to_str().unwrap().parse().unwrap());
    let session = Session { identity_file: identity_file.into(), timeout };
    end(session.run(driver).map_err(|error| {
        let mut value = told(&error);
        value["reason"] = match &error {
            SessionError::Handle(error) => json!(variant(error)),
            SessionError::Request(error) => json!(variant(error)),
            _ => Value::Null,
        };
        value
    }))
}

fn end(outcome: Result<(), Value>) -> ! {
    let (line, code) = match outcome {
        Ok(()) => (json!({ "ended": true }), 0),
        Err(error) => (error, 1),
    };
    // The output may be what fails.
    let _ = writeln!(stdout(), "{line}");
    exit(code)
}

fn told<E: Error + 'static>(error: &E) -> Value {
    json!({ "error": variant(error), "text": chain(error), "debug": format!("{error:?}") })
}

/// Returns the default, or one with the memory that the environment names.
fn config() -> ServerConfig {
    match std::env::var("MEMORY_LIMIT") {
        Ok(bytes) => ServerConfig::default().memory_limit(bytes.parse().unwrap()),
        Err(_) => ServerConfig::default(),
    }
}

/// Sets the parts that servers of both drivers have.
macro_rules! configured {
    ($server:expr, $identity_file:expr) => {
        $server
            .config(config())
            .identity_file($identity_file)
            .observe(|error| {
                // The output may be what fails.
                let _ = writeln!(stderr(), "{}: {error:?}", chain(error));
            })
            .stop_on_signals()
            .map_err(|error| told(&error))?
    };
}

fn serve_blocking(socket: String, identity_file: PathBuf, file: PathBuf) -> Result<(), Value> {
    let endpoint = Endpoint::unix_socket("walk", socket).unwrap();
    let server = Server::bind(endpoint).map_err(|error| told(&error))?;
    configured!(server, identity_file)
        .serve(SHOUT, move |mut request| {
            if request.payload() == SLOW {
                thread::sleep(SLOW_TIME);
            }
            let descriptors = request.take_descriptors();
            answer(request.payload(), descriptors, &file)
        })
        .legacy(wire::detect, |connection| {
            if let Err(error) = wire::serve(connection) {
                // The output may be what fails.
                let _ = writeln!(stderr(), "a legacy connection failed: {error}");
            }
        })
        .run()
        .map_err(|error| told(&error))
}

fn serve_on_tokio(socket: String, identity_file: PathBuf, file: PathBuf) -> Result<(), Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| told(&error))?.block_on(async {
        let endpoint = Endpoint::unix_socket("walk", socket).unwrap();
        let server = AsyncServer::bind(endpoint).map_err(|error| told(&error))?;
        configured!(server, identity_file)
            .serve(SHOUT, move |mut request| {
                let file = file.clone();
                async move {
                    if request.payload() == SLOW {
                        tokio::time::sleep(SLOW_TIME).await;
                    }
                    let descriptors = request.take_descriptors();
                    answer(request.payload(), descriptors, &file)
                }
            })
            .legacy(wire::detect, |mut connection| async move {
                // One message is enough for a session.
                let mut header = [0; wire::HEADER_BYTES];
                if connection.read_exact(&mut header).await.is_ok() {
                    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
                    let mut body = vec![0; length as usize];
                    if connection.read_exact(&mut body).await.is_ok() {
                        // The client may be gone.
                        let _ = connection.write_all(&wire::message(&body.to_ascii_uppercase())).await;
                    }
                }
            })
            .run()
            .await
            .map_err(|error| told(&error))
    })
}

fn answer(request: &[u8], descriptors: Vec<OwnedFd>, file: &Path) -> Result<Payload, HandlerError> {
    if request == WRITE {
        let [output] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| "one descriptor is expected")?;
        File::from(output).write_all(WRITTEN)?;
        return Ok(Payload::from(WRITTEN));
    }
    if request == FILE {
        return Ok(Payload::from_file(File::open(file)?)?);
    }
    Ok(Payload::from(request.to_ascii_uppercase()))
}
