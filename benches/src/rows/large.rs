//! Large responses: how fast their bytes come, and how often the system has to find memory for them.

use crate::floor::blocking;
use crate::measure::{Contender, Counts, Row, Run, Unit};
use crate::party::{LARGE, ours, peer};
use crate::place::Placement;
use crate::process::page_faults;
use crate::scratch::Scratch;

/// A client, and its server's process.
type Exchange = (Run, u32);

pub fn rows() -> [Row; 2] {
    [
        Row {
            name: "large",
            title: "responses of 1 MiB, blocking",
            unit: Unit::Throughput(LARGE as u64),
            batch: 1,
            counts: Counts::SystemCalls,
            placement: Placement::OneCpu,
            contenders: || contenders(|(run, _)| run, |contender| contender.within(1.0 / 0.75)),
        },
        Row {
            name: "large-faults",
            title: "page faults of both sides for a response of 1 MiB, once warm",
            unit: Unit::Count,
            batch: 1,
            counts: Counts::Nothing,
            placement: Placement::OneCpu,
            contenders: || contenders(faults, |contender| contender.at_most(0.5)),
        },
    ]
}

fn contenders(of: fn(Exchange) -> Run, goal: fn(Contender) -> Contender) -> Vec<Contender> {
    vec![
        Contender::floor("raw", move |scratch| of(blocking::large_responses(scratch))),
        goal(Contender::ours("serve_inline", move |scratch| {
            of(ours::large_responses(scratch, "ours-inline"))
        })),
        goal(Contender::ours("serve", move |scratch| of(ours::large_responses(scratch, "ours")))),
        Contender::peer("FrameClient", move |scratch: &Scratch| of(peer::large_responses(scratch))),
    ]
}

/// Counts the page faults of an exchange instead of taking its time.
fn faults((mut run, server): Exchange) -> Run {
    Box::new(move |count| {
        let faults = || page_faults(std::process::id()) + page_faults(server);
        let before = faults();
        run(count);
        (faults() - before) as f64
    })
}
