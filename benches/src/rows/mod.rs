//! Every row, in the order of the table.

mod builds;
mod calls;
mod decode;
mod drain;
mod encode;
mod idle;
mod in_flight;
mod large;
mod prove;
mod sample;
mod start;

pub use sample::wire;

use crate::measure::{Contender, Counts, Pace, Row, Unit};
use crate::party::{Exchange, redis, tarpc, tonic};
use crate::place::Placement;

/// Length of a large executable, in bytes.
const LARGE_PROGRAM: u64 = 100_000_000;

pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(decode::rows());
    rows.extend(encode::rows());
    rows.extend(drain::rows());
    rows.extend(prove::rows());
    rows.extend(start::rows());
    rows.extend(calls::rows());
    rows.extend(in_flight::rows());
    rows.extend(large::rows());
    rows.extend(idle::rows());
    rows.extend(builds::rows());
    rows
}

/// A row over a socket, with `batch` requests in an operation.
fn row_of_calls(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    batch: usize,
    contenders: fn() -> Vec<Contender>,
) -> Row {
    let placement = Placement::OneCpu;
    Row {
        name,
        title,
        unit,
        batch: batch as u64,
        counts: Counts::SystemCalls,
        placement,
        pace: Pace::Sampled,
        contenders,
    }
}

/// The third parties.
fn others(exchange: Exchange, at_once: usize) -> Vec<Contender> {
    let mut others = vec![
        Contender::other("tarpc", move |scratch| tarpc::client(scratch, exchange, at_once).run),
        Contender::other("tonic", move |scratch| tonic::client(scratch, exchange, at_once).run),
    ];
    if redis::is_installed() {
        others.push(Contender::other("redis", move |scratch| redis::client(scratch, exchange, at_once).run));
    }
    others
}
