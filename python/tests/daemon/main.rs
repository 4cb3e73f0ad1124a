//! The daemon of the tests. It serves the conformance protocol of docs/wire.md, and `busy`, which is refused as overloaded, and the protocol
//! of the example daemons.
//!
//! `test_daemon SOCKET IDENTITY_FILE [PROTOCOL]`, or as a service: `test_daemon --service NAME ROOT`.

use running_process::broker::backend_sdk::{AsyncServerRequest, ConnectionConfig, ServerConfig};
use running_process::broker::protocol::RefusalReason;
use running_process::{AsyncServer, Endpoint, HandlerError, Refusal, Service};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

const CONFORMANCE: u32 = 0xF0C0;
/// The protocol of the example daemons.
const SHOUT: u32 = 0xF00D;
const MOST_EVENTS: u32 = 10_000;

/// The names of `wait`, and whether their requests still wait.
static WAITING: LazyLock<Mutex<HashMap<Vec<u8>, bool>>> = LazyLock::new(Mutex::default);

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (server, protocol) = match &arguments[..] {
        [option, name, root] if option == "--service" => {
            (AsyncServer::for_service(&Service::new(name)?.below(root))?, CONFORMANCE)
        }
        [socket, identity_file, rest @ ..] => {
            let protocol = rest.first().map_or(Ok(CONFORMANCE), |protocol| protocol.parse())?;
            let endpoint = Endpoint::unix_socket("test", socket)?;
            (AsyncServer::bind(endpoint)?.identity_file(identity_file), protocol)
        }
        _ => return Err("usage: test_daemon SOCKET IDENTITY_FILE [PROTOCOL]".into()),
    };
    let connection = ConnectionConfig::default().max_in_flight(2048);
    let config = ServerConfig::default().connection(connection).max_in_flight(4096);
    server
        .config(config)
        .serve(protocol, answer)
        .serve(SHOUT, shout)
        .on_ready(|_| println!("ready"))
        .stop_on_signals()?
        .run()
        .await?;
    Ok(())
}

async fn shout(request: AsyncServerRequest) -> Result<Vec<u8>, HandlerError> {
    for word in request.payload().split(|&byte| byte == b' ') {
        request.send_event(word.to_ascii_uppercase()).await?;
    }
    Ok(request.payload().to_ascii_uppercase())
}

async fn answer(request: AsyncServerRequest) -> Result<Vec<u8>, HandlerError> {
    let payload = request.payload();
    let space = payload.iter().position(|&byte| byte == b' ').unwrap_or(payload.len());
    let (word, rest) = payload.split_at(space);
    let rest = rest.get(1..).unwrap_or_default();
    match word {
        b"echo" => Ok(rest.to_vec()),
        b"events" => {
            let count: u32 = str::from_utf8(rest)?.parse()?;
            if count > MOST_EVENTS {
                return Err("too many events".into());
            }
            for number in 0..count {
                request.send_event(number.to_string()).await?;
            }
            Ok(count.to_string().into_bytes())
        }
        b"wait" => {
            let _ended = Waiting::new(rest.to_vec());
            std::future::pending().await
        }
        b"ended" => Ok(match waiting().get(rest) {
            None => b"unknown".to_vec(),
            Some(true) => b"waiting".to_vec(),
            Some(false) => b"cancelled".to_vec(),
        }),
        b"busy" => {
            let refusal = Refusal::new(RefusalReason::Overloaded, "busy");
            Err(refusal.retry_after(Duration::from_millis(1500)).into())
        }
        b"fail" => {
            let refusal = Refusal::new(RefusalReason::HandlerFailed, String::from_utf8_lossy(rest));
            Err(refusal.into())
        }
        _ => Err("an unknown word".into()),
    }
}

/// A request that waits.
struct Waiting(Vec<u8>);

impl Waiting {
    fn new(name: Vec<u8>) -> Self {
        waiting().insert(name.clone(), true);
        Self(name)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        waiting().insert(std::mem::take(&mut self.0), false);
    }
}

fn waiting() -> std::sync::MutexGuard<'static, HashMap<Vec<u8>, bool>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}
