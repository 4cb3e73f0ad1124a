//! tonic, over a Unix socket, with the code that its generator writes for a service with two methods.

use super::{Client, EVENT, EVENTS, Exchange, Server, answer, on_tokio, runtime};
use crate::scratch::Scratch;
use bytes::Bytes;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, ServerStreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(bytes = "bytes", tag = "1")]
    payload: Bytes,
}

#[derive(Clone)]
struct Echo;

const CALL_PATH: &str = "/benches.Echo/Call";
const EVENTS_PATH: &str = "/benches.Echo/Events";

type MakeEvent = fn(usize) -> Result<Message, Status>;
type Events = tokio_stream::Iter<std::iter::Map<std::ops::Range<usize>, MakeEvent>>;

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

impl ServerStreamingService<Message> for Echo {
    type Response = Message;
    type ResponseStream = Events;
    type Future = Ready<Result<Response<Events>, Status>>;

    fn call(&mut self, _: Request<Message>) -> Self::Future {
        let events = (0..EVENTS).map((|_| Ok(Message { payload: Bytes::from_static(&EVENT) })) as MakeEvent);
        ready(Ok(Response::new(tokio_stream::iter(events))))
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
        Box::pin(async move {
            Ok(match request.uri().path() {
                EVENTS_PATH => grpc.server_streaming(Echo, request).await,
                _ => grpc.unary(Echo, request).await,
            })
        })
    }
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    runtime().block_on(async {
        let connections = UnixListenerStream::new(UnixListener::bind(socket).expect("a free path"));
        ready();
        tonic::transport::Server::builder().add_service(Echo).serve_with_incoming(connections).await.unwrap();
    });
}

fn connect(scratch: &Scratch) -> (Server, Runtime, Channel) {
    let server = Server::start(scratch, "tonic");
    let runtime = runtime();
    let endpoint = Endpoint::from_shared(format!("unix://{}", server.socket().display())).unwrap();
    let channel = runtime.block_on(endpoint.connect()).unwrap();
    (server, runtime, channel)
}

pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let (server, runtime, channel) = connect(scratch);
    let payload = Bytes::from(exchange.request());
    on_tokio(server, runtime, at_once, async move || {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(CALL_PATH);
        let request = Request::new(Message { payload: payload.clone() });
        let codec = ProstCodec::<Message, Message>::default();
        exchange.check(&client.unary(request, path, codec).await.unwrap().get_ref().payload);
    })
}

/// Asks for all events and takes them.
pub fn events(scratch: &Scratch) -> Client {
    let (server, runtime, channel) = connect(scratch);
    on_tokio(server, runtime, 1, async move || {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(EVENTS_PATH);
        let request = Request::new(Message { payload: Bytes::new() });
        let codec = ProstCodec::<Message, Message>::default();
        let mut events = client.server_streaming(request, path, codec).await.unwrap().into_inner();
        let mut taken = 0;
        while let Some(event) = events.message().await.unwrap() {
            assert_eq!(event.payload.len(), EVENT.len());
            taken += 1;
        }
        assert_eq!(taken, EVENTS);
    })
}
