//! Requests and responses of 64 bytes, one after the other, between two threads whose system calls can be counted:
//! `rounds blocking|tokio SOCKET COUNT`.
//!
//! The first thread is the client and the others are the server, which answers inline; on tokio each has a runtime of its
//! own.

use running_process::broker::backend_sdk::{AsyncFrameClient, AsyncServer, FrameClient, Server};
use running_process::broker::protocol::Endpoint;
use std::error::Error;
use std::sync::mpsc;
use tokio::runtime::{Builder, Runtime};

/// The protocol that returns the payload of the request.
const ECHO: u32 = 0xF00D;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [driver, socket, count] = &arguments[..] else { return Err("three arguments".into()) };
    let endpoint = Endpoint::unix_socket("rounds", socket)?;
    let count: usize = count.parse()?;
    let (is_ready, ready) = mpsc::channel();
    // The process ends with the client.
    match driver.as_str() {
        "blocking" => {
            let server = Server::bind(endpoint.clone())?
                .serve_inline(ECHO, |request| Ok(request.payload().to_vec()))
                .on_ready(move |_| is_ready.send(()).unwrap_or_default());
            std::thread::spawn(|| server.run());
            ready.recv()?;
            let mut client = FrameClient::connect(&endpoint)?;
            for _ in 0..count {
                check(&client.request(ECHO, vec![7; 64])?.payload)?;
            }
        }
        "tokio" => {
            let server = AsyncServer::bind(endpoint.clone())?
                .serve_inline(ECHO, |request| Ok(request.payload().to_vec()))
                .on_ready(move |_| is_ready.send(()).unwrap_or_default());
            let runtime = runtime()?;
            std::thread::spawn(move || runtime.block_on(server.run()));
            ready.recv()?;
            self::runtime()?.block_on(async {
                let client = AsyncFrameClient::connect(&endpoint).await?;
                for _ in 0..count {
                    check(&client.request(ECHO, vec![7; 64]).await?.payload)?;
                }
                Ok::<_, Box<dyn Error>>(())
            })?;
        }
        _ => return Err("neither blocking nor tokio".into()),
    }
    Ok(())
}

fn check(payload: &[u8]) -> Result<(), &'static str> {
    if payload == [7; 64] { Ok(()) } else { Err("another answer") }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
