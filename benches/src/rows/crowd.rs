//! Many connections, each with one request in flight: the throughput of a server as its crowd grows.

use super::row_of_calls;
use crate::party::crowd::Crowd;
use crate::party::redis;
use crate::place::Placement;
use crate::process::is_installed;
use crate::row::{Contender, Row, Run, Unit};
use crate::scratch::Scratch;

/// The beginning of the names of these rows, which have a chart of their own.
pub const NAME: &str = "crowd-";

pub fn rows() -> [Row; 4] {
    [
        row("crowd-1", "1 connection, one request of 64 B in flight", 1, in_turn::<1>),
        row("crowd-8", "8 connections, one request of 64 B in flight on each", 8, in_turn::<8>),
        row("crowd-64", "64 connections, one request of 64 B in flight on each", 64, in_turn::<64>),
        row("crowd-512", "512 connections, one request of 64 B in flight on each", 512, in_turn::<512>),
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

fn in_turn<const CONNECTIONS: usize>() -> Vec<Contender> {
    let run = |scratch: &_, server: &_| Crowd::connect(scratch, server, CONNECTIONS).in_turn().run;
    let mut servers = servers(run);
    servers.push(Contender::other("ttrpc on tokio", move |scratch| run(scratch, "ttrpc-tokio")));
    servers
}

/// Returns the servers that meet a crowd. `run` drives the one of that name.
pub fn servers(run: fn(&Scratch, &str) -> Run) -> Vec<Contender> {
    let against = |server| move |scratch: &_| run(scratch, server);
    let mut servers = vec![
        Contender::floor("raw echo on tokio", against("raw-tokio")),
        Contender::ours("Server, serve_inline", against("ours-inline")),
        Contender::ours("Server, serve", against("ours")),
        Contender::ours("AsyncServer, serve_inline", against("ours-tokio-inline")),
        Contender::ours("AsyncServer, serve", against("ours-tokio")),
        Contender::ours("AsyncServer, serve, a thread for each core", against("ours-tokio-threads")),
        Contender::peer("mux, a thread for each connection", against("peer")),
    ];
    if is_installed(redis::PROGRAM) {
        servers.push(Contender::other("redis", against("redis")));
    }
    servers
}
