//! ttrpc, over a Unix socket, blocking and on tokio. The payload is the request's own, without generated code.

use super::{Client, Exchange, Server, answer, blocking, on_tokio, runtime};
use crate::scratch::Scratch;
use async_trait::async_trait;
use std::collections::HashMap;
use std::path::Path;
use std::thread;
use ttrpc::asynchronous;
use ttrpc::proto::{Codec, MessageHeader};
use ttrpc::{Code, MethodHandler, Request, Response, TtrpcContext, get_status};

const SERVICE: &str = "benches.Echo";
const METHOD: &str = "Call";

struct Echo;

impl MethodHandler for Echo {
    fn handler(&self, context: TtrpcContext, request: Request) -> ttrpc::Result<()> {
        context.respond(context.mh.stream_id, response(&request))
    }
}

#[async_trait]
impl asynchronous::MethodHandler for Echo {
    async fn handler(&self, _: asynchronous::TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        Ok(response(&request))
    }
}

fn response(request: &Request) -> Response {
    let mut response = Response::new();
    response.set_status(get_status(Code::OK, ""));
    response.set_payload(answer(&request.payload));
    response
}

fn request(payload: Vec<u8>) -> Request {
    let mut request = Request::new();
    request.set_service(SERVICE.into());
    request.set_method(METHOD.into());
    request.set_payload(payload);
    request
}

/// Returns a request on the wire with a payload of so many bytes.
pub fn wire(size: usize) -> Vec<u8> {
    let request = request(vec![7; size]).encode().expect("it fits");
    let header = MessageHeader::new_request(1, u32::try_from(request.len()).expect("it fits"));
    [Vec::from(header), request].concat()
}

fn address(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    let echo: Box<dyn MethodHandler + Send + Sync> = Box::new(Echo);
    let methods = HashMap::from([(format!("/{SERVICE}/{METHOD}"), echo)]);
    let mut server = ttrpc::Server::new().bind(&address(socket)).unwrap().register_service(methods);
    server.start().unwrap();
    ready();
    loop {
        thread::park();
    }
}

pub fn serve_tokio(socket: &Path, ready: impl FnOnce()) {
    let echo: Box<dyn asynchronous::MethodHandler + Send + Sync> = Box::new(Echo);
    let methods = HashMap::from([(METHOD.to_owned(), echo)]);
    let service = asynchronous::Service { methods, streams: HashMap::new() };
    runtime().block_on(async {
        let server = asynchronous::Server::new().bind(&address(socket)).unwrap();
        let mut server = server.register_service(HashMap::from([(SERVICE.to_owned(), service)]));
        server.start().await.unwrap();
        ready();
        std::future::pending::<()>().await;
    });
}

/// Connects the client, of which each thread has one request in flight.
pub fn client(scratch: &Scratch, exchange: Exchange) -> Client {
    let server = Server::start(scratch, "ttrpc");
    let client = ttrpc::Client::connect(&address(server.socket())).unwrap();
    let request = request(exchange.request());
    blocking(server, move || {
        exchange.check(&client.request(request.clone()).unwrap().payload);
    })
}

/// Connects the client on tokio.
pub fn client_on_tokio(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "ttrpc-tokio");
    let runtime = runtime();
    let client = runtime.block_on(asynchronous::Client::connect(&address(server.socket()))).unwrap();
    let request = request(exchange.request());
    on_tokio(server, runtime, at_once, async move || {
        exchange.check(&client.request(request.clone()).await.unwrap().payload);
    })
}
