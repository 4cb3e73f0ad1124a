//! The parties: each has a server and a client that do the same work.
//!
//! A server is a process of its own, running this program. Blocking servers have a thread for
//! each connection; servers and clients on tokio have a runtime of one thread, unless they say otherwise.

pub mod capnp;
pub mod codec;
pub mod crowd;
pub mod ours;
pub mod peer;
pub mod redis;
mod server;
pub mod shmipc;
pub mod short;
pub mod tarpc;
pub mod tonic;
pub mod ttrpc;
pub mod zlink;

pub use server::{Program, Server, serve};

use crate::row::{Run, nanoseconds, timed};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::time::Instant;
use tokio::runtime::Runtime;

/// The payload protocol of every frame, one for private use.
pub const PROTOCOL: u32 = 0xF00D;

/// Requests in flight at once, in the rows with many.
pub const BATCH: usize = 64;

/// Length of the large response, in bytes.
pub const LARGE: usize = 1 << 20;

/// Length of the largest request, in bytes: with its envelope it is close to the limit of a frame.
pub const LARGEST: usize = (16 << 20) - 1024;

/// The response to a request of [`LARGEST`].
pub const RECEIVED: &[u8] = &[7; 8];

/// The payload that asks for the large response; all payloads without another meaning are echoed.
const LARGE_REQUEST: &[u8] = b"large";

/// The payload that asks for [`EVENTS`] events before its response.
pub const EVENTS_REQUEST: &[u8] = b"events";

/// Events for a request.
pub const EVENTS: usize = 10_000;

/// The payload of an event.
pub const EVENT: [u8; 64] = [7; 64];

pub fn large() -> &'static [u8] {
    static LARGE_RESPONSE: LazyLock<Vec<u8>> = LazyLock::new(|| vec![7; LARGE]);
    &LARGE_RESPONSE
}

/// Returns the response of handlers that own their response.
pub fn answer(request: &[u8]) -> Vec<u8> {
    match request {
        LARGE_REQUEST => large().to_vec(),
        _ if request.len() == LARGEST => RECEIVED.to_vec(),
        _ => request.to_vec(),
    }
}

/// The payloads that a client sends and expects.
#[derive(Clone, Copy)]
pub enum Exchange {
    /// So many bytes in both directions.
    Echo(usize),
    /// A few bytes, answered with the large response.
    Large,
    /// The largest request, answered with a few bytes.
    Upload,
}

impl Exchange {
    pub fn request(self) -> Vec<u8> {
        match self {
            Self::Echo(size) => vec![7; size],
            Self::Large => LARGE_REQUEST.to_vec(),
            Self::Upload => vec![7; LARGEST],
        }
    }

    pub fn response_length(self) -> usize {
        match self {
            Self::Echo(size) => size,
            Self::Large => LARGE,
            Self::Upload => RECEIVED.len(),
        }
    }

    pub fn check(self, response: &[u8]) {
        assert_eq!(response.len(), self.response_length());
    }
}

/// A connected client and the process that it talks to.
pub struct Client {
    /// Does as many exchanges as are in flight at once.
    pub run: Run,
    pub server: u32,
}

/// Returns the runtime of every party on tokio.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Returns a runtime with a thread for each core.
fn runtime_of_all_cores() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A blocking client: `exchange` is one operation.
pub fn blocking(server: Server, mut exchange: impl FnMut() + 'static) -> Client {
    let pid = server.pid();
    let run = timed(move || {
        let _alive = &server;
        exchange();
    });
    Client { run, server: pid }
}

/// A client on tokio: `exchange` is one exchange. Each caller sends its next request as soon as its response arrives.
pub fn on_tokio(
    server: Server,
    runtime: Runtime,
    callers: usize,
    exchange: impl AsyncFn() + 'static,
) -> Client {
    on_tokio_in(server, move |work| runtime.block_on(work), callers, exchange)
}

/// A client on tokio whose runtime is entered by `block_on`.
pub fn on_tokio_in(
    server: Server,
    block_on: impl Fn(Pin<&mut dyn Future<Output = ()>>) + 'static,
    callers: usize,
    exchange: impl AsyncFn() + 'static,
) -> Client {
    let pid = server.pid();
    let run = Box::new(move |count| {
        let _alive = &server;
        let begin = Instant::now();
        let caller = async || {
            for _ in 0..count {
                exchange().await;
            }
        };
        block_on(pin!(async {
            if callers == 1 {
                caller().await;
            } else {
                (0..callers).map(|_| caller()).collect::<FuturesUnordered<_>>().for_each(async |()| ()).await;
            }
        }));
        nanoseconds(begin)
    });
    Client { run, server: pid }
}
