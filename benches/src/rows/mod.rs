//! Every row, in the order of the table.

mod artifact;
mod builds;
mod calls;
pub mod crowd;
mod decode;
mod drain;
mod encode;
mod events;
mod idle;
mod in_flight;
mod large;
mod load;
mod prove;
mod sample;
mod service;
mod start;
mod upload;

pub use sample::wire;

use crate::party::{Exchange, redis, tarpc, tonic};
use crate::place::Placement;
use crate::process::is_installed;
use crate::row::{Contender, Counts, Row, Unit};

/// Length of a large executable, in bytes.
const LARGE_PROGRAM: u64 = 100_000_000;

pub fn groups() -> Vec<(&'static str, Vec<Row>)> {
    let frames = decode::rows().into_iter().chain(encode::rows()).chain(drain::rows());
    let daemons = prove::rows().into_iter().chain(service::rows()).chain(start::rows());
    let requests = calls::rows()
        .into_iter()
        .chain(in_flight::rows())
        .chain(large::rows())
        .chain(upload::rows())
        .chain(artifact::rows())
        .chain(events::rows());
    let connections = crowd::rows().into_iter().chain(load::rows());
    let resources = idle::rows().into_iter().chain(builds::rows());
    vec![
        ("Frames", frames.collect()),
        ("Daemons", daemons.collect()),
        ("Requests", requests.collect()),
        ("Many connections", connections.collect()),
        ("Memory and dependencies", resources.collect()),
    ]
}

pub fn all() -> impl Iterator<Item = Row> {
    groups().into_iter().flat_map(|(_, rows)| rows)
}

/// Returns a row over a socket, with `batch` requests in an operation.
fn row_of_calls(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    batch: usize,
    contenders: fn() -> Vec<Contender>,
) -> Row {
    let row = Row::new(name, title, unit, Placement::OneCpu, contenders);
    Row { batch: batch as u64, counts: Counts::SystemCalls, ..row }
}

/// The third parties.
fn others(exchange: Exchange, at_once: usize) -> Vec<Contender> {
    let mut others = vec![
        Contender::other("tarpc", move |scratch| tarpc::client(scratch, exchange, at_once).run),
        Contender::other("tonic", move |scratch| tonic::client(scratch, exchange, at_once).run),
    ];
    if is_installed(redis::PROGRAM) {
        others.push(Contender::other("redis", move |scratch| redis::client(scratch, exchange, at_once).run));
    }
    others
}
