//! Many connections, each with one request in flight: the throughput of a server as its crowd grows.

use super::row_of_calls;
use crate::floor::blocking;
use crate::place::Placement;
use crate::row::{Contender, Row, Unit};

pub fn rows() -> [Row; 3] {
    [
        row("crowd-8", "8 connections, one request of 64 B in flight on each", 8, contenders::<8>),
        row("crowd-64", "64 connections, one request of 64 B in flight on each", 64, contenders::<64>),
        row("crowd-512", "512 connections, one request of 64 B in flight on each", 512, contenders::<512>),
    ]
}

fn row(
    name: &'static str,
    title: &'static str,
    connections: usize,
    contenders: fn() -> Vec<Contender>,
) -> Row {
    let row = row_of_calls(name, title, Unit::Rate, connections, contenders);
    // The threads of a server may run at once.
    Row { placement: Placement::Free, ..row }
}

fn contenders<const CONNECTIONS: usize>() -> Vec<Contender> {
    let client = |server| move |scratch: &_| blocking::crowd(scratch, server, CONNECTIONS).run;
    vec![
        Contender::floor("raw echo on tokio", client("raw-tokio")),
        Contender::ours("Server, serve_inline", client("ours-inline")),
        Contender::ours("Server, serve", client("ours")),
        Contender::ours("AsyncServer, serve_inline", client("ours-tokio-inline")),
        Contender::ours("AsyncServer, serve", client("ours-tokio")),
    ]
}
