//! Large responses: the throughput of their bytes, and the page faults of their memory.

use super::{others, row_of_calls};
use crate::floor::blocking;
use crate::party::{Client, Exchange, LARGE, ours, peer};
use crate::process::page_faults;
use crate::row::{Contender, Counts, Row, Run, Unit};

pub fn rows() -> [Row; 2] {
    [
        row_of_calls("large", "responses of 1 MiB, blocking", Unit::Throughput(LARGE as u64), 1, || {
            let goal = |contender: Contender| contender.within(1.0 / 0.75);
            let mut contenders = contenders(|client| client.run, goal);
            contenders.extend(others(Exchange::Large, 1));
            contenders
        }),
        Row {
            counts: Counts::Nothing,
            ..row_of_calls(
                "large-faults",
                "page faults of both sides for a response of 1 MiB, once warm",
                Unit::Count,
                1,
                || contenders(faults, |contender| contender.at_most(0.5)),
            )
        },
    ]
}

fn contenders(of: fn(Client) -> Run, goal: fn(Contender) -> Contender) -> Vec<Contender> {
    vec![
        Contender::floor("raw", move |scratch| of(blocking::client(scratch, Exchange::Large, 1))),
        goal(Contender::ours("serve_inline", move |scratch| {
            of(ours::client(scratch, "ours-inline", Exchange::Large, 1))
        })),
        goal(Contender::ours("serve", move |scratch| of(ours::client(scratch, "ours", Exchange::Large, 1)))),
        Contender::peer("FrameClient", move |scratch| of(peer::client(scratch, Exchange::Large))),
    ]
}

/// Counts the page faults of an exchange instead of taking its time.
fn faults(Client { mut run, server }: Client) -> Run {
    Box::new(move |count| {
        let faults = || page_faults(std::process::id()) + page_faults(server);
        let before = faults();
        run(count);
        (faults() - before) as f64
    })
}
