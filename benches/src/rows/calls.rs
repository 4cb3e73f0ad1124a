//! A request and its response over a socket, one after the other.

use super::{others, row_of_calls};
use crate::floor::{asynchronous, blocking};
use crate::party::{Exchange, capnp, ours, peer, shmipc, ttrpc, zlink};
use crate::row::{Contender, Row, Unit};

const SMALL: Exchange = Exchange::Echo(64);
const LARGE: Exchange = Exchange::Echo(64 * 1024);

pub fn rows() -> [Row; 3] {
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
            ]
        }),
        row_of_calls("call-64k", "request and response, 64 KiB, blocking", Unit::Time, 1, || {
            calls(LARGE, 1.2)
        }),
    ]
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
