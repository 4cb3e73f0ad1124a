//! Many requests in flight on one connection. The peer has one.
//!
//! The goals are for a machine whose floor does 3.9 million requests in a second: 2.5 million blocking, and 1.5 million
//! on tokio.

use super::{others, row_of_calls};
use crate::floor::{asynchronous, blocking};
use crate::party::{BATCH, Exchange, capnp, ours, shmipc, ttrpc, zlink};
use crate::row::{Contender, Row, Unit};

const SMALL: Exchange = Exchange::Echo(64);

pub fn rows() -> [Row; 2] {
    [
        row_of_calls("in-flight", "64 requests in flight, 64 B, blocking", Unit::Rate, BATCH, || {
            let mut contenders = vec![
                by_hand(),
                Contender::floor("raw echo, no frames", |scratch| {
                    blocking::client(scratch, SMALL, BATCH).run
                }),
                Contender::ours("serve_inline", |scratch| {
                    ours::client(scratch, "ours-inline", SMALL, BATCH).run
                })
                .within(3.9 / 2.5),
                Contender::ours("serve", |scratch| ours::client(scratch, "ours", SMALL, BATCH).run)
                    .within(3.9 / 2.5),
            ];
            contenders.extend(others(SMALL, BATCH));
            contenders.extend([
                Contender::other("ttrpc on tokio", |scratch| {
                    ttrpc::client_on_tokio(scratch, SMALL, BATCH).run
                }),
                Contender::other("capnp-rpc", |scratch| capnp::client(scratch, SMALL, BATCH).run),
                Contender::other("zlink, a chain", |scratch| zlink::client(scratch, SMALL, BATCH).run),
                Contender::other("shmipc", |scratch| shmipc::client(scratch, SMALL, BATCH).run),
            ]);
            contenders
        }),
        row_of_calls("in-flight-tokio", "64 requests in flight, 64 B, tokio", Unit::Rate, BATCH, || {
            vec![
                by_hand(),
                Contender::floor("raw echo on tokio, no frames", |scratch| {
                    asynchronous::client(scratch, SMALL, BATCH).run
                }),
                Contender::ours("serve_inline", |scratch| {
                    ours::client_on_tokio(scratch, "ours-tokio-inline", SMALL, BATCH).run
                })
                .within(3.9 / 1.5),
                Contender::ours("serve", |scratch| {
                    ours::client_on_tokio(scratch, "ours-tokio", SMALL, BATCH).run
                })
                .within(3.9 / 1.5),
                Contender::other("ttrpc", |scratch| ttrpc::client_on_tokio(scratch, SMALL, BATCH).run),
            ]
        }),
    ]
}

fn by_hand() -> Contender {
    Contender::floor("the same wire by hand, blocking", |scratch| {
        blocking::client_with_frames(scratch, SMALL, BATCH).run
    })
}
