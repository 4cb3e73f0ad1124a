//! shmipc, in shared memory with an event descriptor for each side: its streams carry bytes without requests.

use super::{Client, Exchange, Server, on_tokio, runtime};
use crate::scratch::Scratch;
use shmipc::Listener;
use shmipc::config::Config;
use shmipc::session::{SessionManager, SessionManagerConfig};
use shmipc::transport::{DefaultUnixConnect, DefaultUnixListen};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use tokio::sync::Mutex;

fn config() -> Config {
    Config::default().with_v4_eventfd()
}

fn address(socket: &Path) -> SocketAddr {
    SocketAddr::from_pathname(socket).expect("a short path")
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    runtime().block_on(async {
        let mut listener = Listener::new(DefaultUnixListen, address(socket), config()).await.unwrap();
        ready();
        while let Ok(mut stream) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(chunk) = stream.read_chunk().await {
                    let chunk = chunk.to_vec();
                    stream.write_bytes(&chunk).unwrap();
                    stream.flush(false).await.unwrap();
                    stream.release_read_and_reuse();
                }
            });
        }
    });
}

/// Exchanges a batch of messages for the batch of answers, on one stream.
pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "shmipc");
    let runtime = runtime();
    let (session, stream) = runtime.block_on(async {
        let config = SessionManagerConfig::new().with_config(config()).with_session_num(1);
        let session =
            SessionManager::new(config, DefaultUnixConnect, address(server.socket())).await.unwrap();
        let stream = session.get_stream().unwrap();
        (session, stream)
    });
    let (request, stream) = (exchange.request(), Mutex::new(stream));
    on_tokio(server, runtime, 1, async move || {
        let _alive = &session;
        let mut stream = stream.lock().await;
        for _ in 0..at_once {
            stream.write_bytes(&request).unwrap();
            stream.flush(false).await.unwrap();
        }
        for _ in 0..at_once {
            exchange.check(&stream.read_exact_bytes(exchange.response_length()).await.unwrap());
        }
        stream.release_read_and_reuse();
    })
}
