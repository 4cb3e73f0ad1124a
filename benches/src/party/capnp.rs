//! capnp-rpc, over a Unix socket. Request and response are bytes without a struct around them, so nothing is generated.

use super::{Client, Exchange, Server, answer, on_tokio_in, runtime};
use crate::scratch::Scratch;
use capnp::capability::{DispatchCallResult, FromServer, Params, Results, Server as Dispatching};
use capnp::{any_pointer, capability, data};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

struct Echo;

#[derive(Clone)]
struct Dispatch(Rc<Echo>);

impl Deref for Dispatch {
    type Target = Echo;

    fn deref(&self) -> &Echo {
        &self.0
    }
}

impl Dispatching for Dispatch {
    fn dispatch_call(
        self,
        _interface: u64,
        _method: u16,
        params: Params<any_pointer::Owned>,
        mut results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let mut echo = || {
            let request: data::Reader<'_> = params.hook.get()?.get_as()?;
            results.hook.get()?.set_as::<data::Owned>(&answer(request)[..])
        };
        DispatchCallResult::new(echo().into(), false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

impl FromServer<Echo> for capability::Client {
    type Dispatch = Dispatch;

    fn from_server(echo: Rc<Echo>) -> Dispatch {
        Dispatch(echo)
    }
}

fn system(stream: UnixStream, side: Side, bootstrap: Option<capability::Client>) -> RpcSystem<Side> {
    let (reader, writer) = stream.into_split();
    let options = capnp::message::ReaderOptions::default();
    RpcSystem::new(
        Box::new(VatNetwork::new(reader.compat(), writer.compat_write(), side, options)),
        bootstrap,
    )
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    LocalSet::new().block_on(&runtime(), async {
        let listener = UnixListener::bind(socket).expect("a free path");
        ready();
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(system(stream, Side::Server, Some(new_client(Echo))));
        }
    });
}

pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "capnp");
    let (runtime, tasks) = (runtime(), LocalSet::new());
    let echo: capability::Client = tasks.block_on(&runtime, async {
        let stream = UnixStream::connect(server.socket()).await.unwrap();
        let mut system = system(stream, Side::Client, None);
        let echo = system.bootstrap(Side::Server);
        spawn_local(system);
        echo
    });
    let payload = exchange.request();
    on_tokio_in(
        server,
        move |work| tasks.block_on(&runtime, work),
        at_once,
        async move || {
            let mut call = echo.new_call::<any_pointer::Owned, any_pointer::Owned>(1, 0, None);
            call.hook.get().set_as::<data::Owned>(&payload[..]).unwrap();
            let response = call.hook.send().promise.await.unwrap();
            exchange.check(response.hook.get().unwrap().get_as::<data::Reader<'_>>().unwrap());
        },
    )
}
