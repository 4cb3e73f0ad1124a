//! tarpc, over a Unix socket, with bincode.

use super::{Client, Exchange, Server, answer, on_tokio, runtime};
use crate::scratch::Scratch;
use futures_util::StreamExt;
use serde_bytes::ByteBuf;
use std::path::Path;
use tarpc::client::Config;
use tarpc::context::{self, Context};
use tarpc::serde_transport::unix;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;

#[tarpc::service]
trait Echo {
    async fn call(payload: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct Answering;

impl Echo for Answering {
    async fn call(self, _: Context, payload: ByteBuf) -> ByteBuf {
        ByteBuf::from(answer(&payload))
    }
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    runtime().block_on(async {
        let mut connections = unix::listen(socket, Bincode::default).await.expect("a free path");
        ready();
        while let Some(Ok(transport)) = connections.next().await {
            let requests = BaseChannel::with_defaults(transport).execute(Answering.serve());
            tokio::spawn(requests.for_each(|request| async {
                tokio::spawn(request);
            }));
        }
    });
}

pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "tarpc");
    let runtime = runtime();
    let client = runtime.block_on(async {
        let transport = unix::connect(server.socket(), Bincode::default).await.unwrap();
        EchoClient::new(Config::default(), transport).spawn()
    });
    let request = ByteBuf::from(exchange.request());
    on_tokio(server, runtime, at_once, async move || {
        let response = client.call(context::current(), request.clone()).await.unwrap();
        exchange.check(&response);
    })
}
