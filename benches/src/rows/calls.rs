//! A request and its response over a socket, one after the other.

use super::{others, row_of_calls};
use crate::floor::{asynchronous, blocking};
use crate::party::{Exchange, capnp, ours, peer, shmipc, ttrpc, zlink};
use crate::place::Placement;
use crate::row::{Contender, Row, Unit};

const SMALL: Exchange = Exchange::Echo(64);
const LARGE: Exchange = Exchange::Echo(64 * 1024);

pub fn rows() -> [Row; 5] {
    [
        row_of_calls("call-64", "request and response, 64 B, blocking", Unit::Time, 1, || calls(SMALL, 1.1)),
        row_of_calls("call-64-tokio", "request and response, 64 B, tokio", Unit::Time, 1, || {
            vec![
                Contender::floor("raw echo", |scratch| asynchronous::client(scratch, SMALL, 1).run),
                Contender::ours("serve_inline", |scratch| {
                    ours::client_on_tokio(scratch, "ours-tokio-inline", SMALL, 1).run
                })
                .within(1.15),
                Contender::ours("serve", |scratch| {
                    ours::client_on_tokio(scratch, "ours-tokio", SMALL, 1).run
                })
                .within(1.15),
                Contender::peer("AsyncFrameClient", |scratch| peer::client_on_tokio(scratch, SMALL).run),
                Contender::other("ttrpc", |scratch| ttrpc::client_on_tokio(scratch, SMALL, 1).run),
            ]
        }),
        on_threads("call-64-threads", "64 B, tokio, a thread for each core, 1 caller", 1, callers::<1>),
        on_threads("call-64-callers", "64 B, tokio, a thread for each core, 8 callers", 8, callers::<8>),
        row_of_calls("call-64k", "request and response, 64 KiB, blocking", Unit::Time, 1, || {
            calls(LARGE, 1.2)
        }),
    ]
}

/// Returns a row whose client and server have runtimes of several threads, which may run at once.
fn on_threads(
    name: &'static str,
    title: &'static str,
    callers: usize,
    contenders: fn() -> Vec<Contender>,
) -> Row {
    Row { placement: Placement::Free, ..row_of_calls(name, title, Unit::Time, callers, contenders) }
}

fn callers<const CALLERS: usize>() -> Vec<Contender> {
    let mut contenders = vec![
        Contender::floor("raw echo on tokio, one thread", |scratch| {
            asynchronous::client(scratch, SMALL, CALLERS).run
        }),
        Contender::ours("serve", |scratch| {
            ours::client_on_tokio_threads(scratch, "ours-tokio-threads", SMALL, CALLERS).run
        }),
    ];
    if CALLERS == 1 {
        contenders.push(Contender::peer("AsyncFrameClient", |scratch| {
            peer::client_on_tokio_threads(scratch, SMALL).run
        }));
    }
    contenders
}

fn calls(exchange: Exchange, goal: f64) -> Vec<Contender> {
    let mut contenders = vec![
        Contender::floor("raw echo", move |scratch| blocking::client(scratch, exchange, 1).run),
        Contender::ours("serve_inline", move |scratch| ours::client(scratch, "ours-inline", exchange, 1).run)
            .within(goal),
        Contender::ours("serve", move |scratch| ours::client(scratch, "ours", exchange, 1).run).within(goal),
        Contender::peer("FrameClient", move |scratch| peer::client(scratch, exchange).run),
    ];
    contenders.extend(others(exchange, 1));
    contenders.extend([
        Contender::other("ttrpc", move |scratch| ttrpc::client(scratch, exchange).run),
        Contender::other("capnp-rpc", move |scratch| capnp::client(scratch, exchange, 1).run),
        Contender::other("zlink", move |scratch| zlink::client(scratch, exchange, 1).run),
        Contender::other("shmipc", move |scratch| shmipc::client(scratch, exchange, 1).run),
    ]);
    contenders
}
