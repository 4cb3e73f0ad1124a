//! Many requests in flight on one connection. The peer has one.

use crate::floor::{asynchronous, blocking};
use crate::measure::{Contender, Counts, Row, Unit};
use crate::party::{BATCH, ours};
use crate::place::Placement;

const SIZE: usize = 64;

pub fn rows() -> [Row; 2] {
    let row = |name, title, contenders| Row {
        name,
        title,
        unit: Unit::Rate,
        batch: BATCH as u64,
        counts: Counts::SystemCalls,
        placement: Placement::OneCpu,
        contenders,
    };
    [
        row("in-flight", "64 requests in flight, 64 B, blocking", || {
            vec![
                Contender::floor("raw echo", |scratch| blocking::in_flight(scratch, SIZE)),
                Contender::other("the same wire by hand", |scratch| {
                    blocking::frames_in_flight(scratch, SIZE)
                }),
                Contender::ours("serve_inline", |scratch| ours::in_flight(scratch, "ours-inline", SIZE))
                    .within(4.7 / 2.5),
                Contender::ours("serve", |scratch| ours::in_flight(scratch, "ours", SIZE)).within(4.7 / 2.5),
            ]
        }),
        row("in-flight-tokio", "64 requests in flight, 64 B, tokio", || {
            vec![
                Contender::floor("raw echo", |scratch| asynchronous::in_flight(scratch, SIZE)),
                Contender::ours("serve_inline", |scratch| {
                    ours::in_flight_tokio(scratch, "ours-tokio-inline", SIZE)
                })
                .within(4.7 / 1.5),
                Contender::ours("serve", |scratch| ours::in_flight_tokio(scratch, "ours-tokio", SIZE))
                    .within(4.7 / 1.5),
            ]
        }),
    ]
}
