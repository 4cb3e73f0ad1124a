//! A request and its response over a socket, one after the other.

use crate::floor::{asynchronous, blocking};
use crate::measure::{Contender, Counts, Row, Unit};
use crate::party::{ours, peer};
use crate::place::Placement;

const SMALL: usize = 64;
const LARGE: usize = 64 * 1024;

pub fn rows() -> [Row; 3] {
    let row = |name, title, contenders| Row {
        name,
        title,
        unit: Unit::Time,
        batch: 1,
        counts: Counts::SystemCalls,
        placement: Placement::OneCpu,
        contenders,
    };
    [
        row("call-64", "request and response, 64 B, blocking", || calls::<SMALL>(1.1)),
        row("call-64-tokio", "request and response, 64 B, tokio", || {
            vec![
                Contender::floor("raw echo", |scratch| asynchronous::calls(scratch, SMALL)),
                Contender::ours("serve_inline", |scratch| {
                    ours::calls_tokio(scratch, "ours-tokio-inline", SMALL)
                })
                .within(1.15),
                Contender::ours("serve", |scratch| ours::calls_tokio(scratch, "ours-tokio", SMALL))
                    .within(1.15),
                Contender::peer("AsyncFrameClient", |scratch| peer::calls_tokio(scratch, SMALL)),
            ]
        }),
        row("call-64k", "request and response, 64 KiB, blocking", || calls::<LARGE>(1.2)),
    ]
}

fn calls<const SIZE: usize>(goal: f64) -> Vec<Contender> {
    vec![
        Contender::floor("raw echo", |scratch| blocking::calls(scratch, SIZE)),
        Contender::ours("serve_inline", |scratch| ours::calls(scratch, "ours-inline", SIZE)).within(goal),
        Contender::ours("serve", |scratch| ours::calls(scratch, "ours", SIZE)).within(goal),
        Contender::peer("FrameClient", |scratch| peer::calls(scratch, SIZE)),
    ]
}
