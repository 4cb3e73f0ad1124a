//! zlink, over a Unix socket: Varlink's JSON, so the payload is a string.

#![allow(clippy::unused_async, reason = "a method of a service is asynchronous")]

use super::{Client, Exchange, Server, on_tokio, runtime};
use crate::scratch::Scratch;
use futures_util::{StreamExt, pin_mut};
use serde::{Deserialize, Serialize};
use std::path::Path;
use tokio::sync::Mutex;
use zlink::tokio::unix;
use zlink::{ReplyError, introspect, proxy, service};

#[derive(Debug, Serialize, Deserialize, introspect::Type)]
struct Reply {
    payload: String,
}

#[derive(Debug, ReplyError, introspect::ReplyError)]
#[zlink(interface = "org.benches.Echo")]
enum Refusal {
    Never,
}

#[proxy("org.benches.Echo")]
trait EchoProxy {
    async fn echo(&mut self, payload: &str) -> zlink::Result<Result<Reply, Refusal>>;
}

struct Echo;

#[service(interface = "org.benches.Echo")]
impl Echo {
    async fn echo(&self, payload: String) -> Reply {
        Reply { payload }
    }
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    runtime().block_on(async {
        let listener = unix::bind(socket).expect("a free path");
        ready();
        zlink::Server::new(listener, Echo).run().await.unwrap();
    });
}

/// Sends a batch of calls at once.
pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "zlink");
    let runtime = runtime();
    let connection = Mutex::new(runtime.block_on(unix::connect(server.socket())).unwrap());
    let payload = "7".repeat(exchange.request().len());
    on_tokio(server, runtime, 1, async move || {
        let mut connection = connection.lock().await;
        if at_once == 1 {
            let reply = connection.echo(&payload).await.unwrap().unwrap();
            return exchange.check(reply.payload.as_bytes());
        }
        let mut calls = connection.chain_echo(&payload).unwrap();
        for _ in 1..at_once {
            calls = calls.echo(&payload).unwrap();
        }
        let replies = calls.send::<Reply, Refusal>().await.unwrap();
        pin_mut!(replies);
        while let Some(reply) = replies.next().await {
            let reply = reply.unwrap().0.unwrap().into_parameters().unwrap();
            exchange.check(reply.payload.as_bytes());
        }
    })
}
