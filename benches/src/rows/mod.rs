//! Every row, in the order of the table.

mod calls;
mod decode;
mod drain;
mod encode;
mod in_flight;
mod large;
mod sample;

pub use sample::wire;

use crate::measure::Row;

pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(decode::rows());
    rows.extend(encode::rows());
    rows.extend(drain::rows());
    rows.extend(calls::rows());
    rows.extend(in_flight::rows());
    rows.extend(large::rows());
    rows
}
