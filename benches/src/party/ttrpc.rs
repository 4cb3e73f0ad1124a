//! ttrpc, over a Unix socket, with its blocking client and server. The payload is the request's own, without generated code.

use super::{Client, Exchange, Server, answer, blocking};
use crate::scratch::Scratch;
use std::collections::HashMap;
use std::path::Path;
use std::thread;
use ttrpc::{Code, MethodHandler, Request, Response, TtrpcContext, get_status};

struct Echo;

impl MethodHandler for Echo {
    fn handler(&self, context: TtrpcContext, request: Request) -> ttrpc::Result<()> {
        let mut response = Response::new();
        response.set_status(get_status(Code::OK, ""));
        response.set_payload(answer(&request.payload));
        context.respond(context.mh.stream_id, response)
    }
}

fn address(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    let echo: Box<dyn MethodHandler + Send + Sync> = Box::new(Echo);
    let methods = HashMap::from([("/benches.Echo/Call".to_owned(), echo)]);
    let mut server = ttrpc::Server::new().bind(&address(socket)).unwrap().register_service(methods);
    server.start().unwrap();
    ready();
    loop {
        thread::park();
    }
}

/// Connects the client, of which each thread has one request in flight.
pub fn client(scratch: &Scratch, exchange: Exchange) -> Client {
    let server = Server::start(scratch, "ttrpc");
    let client = ttrpc::Client::connect(&address(server.socket())).unwrap();
    let mut request = Request::new();
    request.set_service("benches.Echo".into());
    request.set_method("Call".into());
    request.set_payload(exchange.request());
    blocking(server, move || {
        exchange.check(&client.request(request.clone()).unwrap().payload);
    })
}
