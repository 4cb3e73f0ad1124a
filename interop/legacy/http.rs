//! HTTP as the legacy wire: hyper serves each connection that the library hands over, in HTTP/1.1 and HTTP/2, with a router of
//! axum.
//!
//! `legacy-http SOCKET IDENTITY_FILE` serves until standard input ends, and then answers what it has received.

use std::error::Error;
use std::io::{Read, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Version;
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use running_process::broker::backend_sdk::AsyncLegacyConnection;
use running_process::{AsyncServer, Endpoint, LegacyClassification};
use tokio::sync::watch;

running_process::register_payload_protocol! {
    /// A response is its request after `pong:`, as those of the peers.
    const PING: u32 = 0x7A63;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, identity_file] = &arguments[..] else { return Err("usage: legacy-http SOCKET FILE".into()) };
    let (stopping, stopped) = watch::channel(false);
    let pages = pages(stopped);
    let server = AsyncServer::bind(Endpoint::unix_socket("legacy", socket)?)?
        .identity_file(identity_file)
        .serve_inline(PING, |request| Ok([b"pong:", request.payload()].concat()))
        .legacy(|_| LegacyClassification::NotLegacy, move |connection| http(connection, pages.clone()))
        .on_ready(|_| println!("ready"));
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // An error means the same as the end: the other end is closed.
        let _end = stdin().read_to_end(&mut Vec::new());
        stop.stop();
        stopping.send_replace(true);
    });
    Ok(server.run().await?)
}

/// Serves one connection, and ends it after the requests in flight once the server is stopped.
async fn http(mut connection: AsyncLegacyConnection, pages: Router) {
    let stopping = connection.stopping();
    let builder = Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(connection), TowerToHyperService::new(pages));
    let (mut connection, mut stopping) = (std::pin::pin!(connection), std::pin::pin!(stopping));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.as_mut() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        eprintln!("a connection failed: {error}");
    }
}

/// Returns the pages: one tells the version of HTTP, one sends back what it gets, one is long, one waits for the end of the daemon, and
/// one counts the requests that wait for it.
fn pages(stopped: watch::Receiver<bool>) -> Router {
    let waiting = Arc::new(AtomicUsize::new(0));
    let waits = Arc::clone(&waiting);
    let held = async move |mut stopped: watch::Receiver<bool>, waits: Arc<AtomicUsize>| {
        waits.fetch_add(1, Ordering::Relaxed);
        match stopped.wait_for(|stopped| *stopped).await {
            Ok(_) => "answered after the stop\n",
            Err(_) => "the daemon forgot to stop\n",
        }
    };
    Router::new()
        .route("/version", get(async |version: Version| format!("{version:?}\n")))
        .route("/echo", post(async |body: Bytes| body))
        .route("/long", get(async || Body::from("0123456789abcdef".repeat(1 << 18))))
        .route("/held", get(move || held(stopped.clone(), Arc::clone(&waits))))
        .route("/waiting", get(async move || waiting.load(Ordering::Relaxed).to_string()))
}
