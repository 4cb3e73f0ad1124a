//! tonic, over a Unix socket, with the code that its generator writes for a service with one method.

use super::{Client, Exchange, Server, answer, on_tokio, runtime};
use crate::scratch::Scratch;
use bytes::Bytes;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(bytes = "bytes", tag = "1")]
    payload: Bytes,
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "benches.Echo";
}

impl UnaryService<Message> for Echo {
    type Response = Message;
    type Future = Ready<Result<Response<Message>, Status>>;

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        ready(Ok(Response::new(Message { payload: answer(&request.get_ref().payload).into() })))
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Message, Message>::default());
        Box::pin(async move { Ok(grpc.unary(Echo, request).await) })
    }
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    runtime().block_on(async {
        let connections = UnixListenerStream::new(UnixListener::bind(socket).expect("a free path"));
        ready();
        tonic::transport::Server::builder().add_service(Echo).serve_with_incoming(connections).await.unwrap();
    });
}

pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "tonic");
    let runtime = runtime();
    let endpoint = Endpoint::from_shared(format!("unix://{}", server.socket().display())).unwrap();
    let channel = runtime.block_on(endpoint.connect()).unwrap();
    let payload = Bytes::from(exchange.request());
    on_tokio(server, runtime, at_once, async move || {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/benches.Echo/Call");
        let request = Request::new(Message { payload: payload.clone() });
        let codec = ProstCodec::<Message, Message>::default();
        exchange.check(&client.unary(request, path, codec).await.unwrap().get_ref().payload);
    })
}
