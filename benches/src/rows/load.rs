//! Many connections at a given load: the latencies at half of the highest one, and the highest load with small latencies.

use super::crowd::servers;
use crate::party::crowd::Crowd;
use crate::place::Placement;
use crate::row::{Contender, Row, Unit};

/// Defines the rows for these numbers of connections.
macro_rules! rows_for {
    ($($connections:literal)*) => {
        vec![$(
            row(
                concat!("load-p50-", $connections),
                concat!("p50 of 64 B at half of its highest load, connections: ", $connections),
                Unit::Time,
                at_half::<$connections, 500>,
            ),
            row(
                concat!("load-p99-", $connections),
                concat!("p99 of 64 B at half of its highest load, connections: ", $connections),
                Unit::Time,
                at_half::<$connections, 990>,
            ),
            row(
                concat!("load-p999-", $connections),
                concat!("p99.9 of 64 B at half of its highest load, connections: ", $connections),
                Unit::Time,
                at_half::<$connections, 999>,
            ),
            row(
                concat!("load-within-", $connections),
                concat!("64 B, highest load with a p99 under 1 ms, connections: ", $connections),
                Unit::Rate,
                within_bound::<$connections>,
            ),
        )*]
    };
}

pub fn rows() -> Vec<Row> {
    rows_for!(1 8 64 512)
}

fn row(name: &'static str, title: &'static str, unit: Unit, contenders: fn() -> Vec<Contender>) -> Row {
    Row::new(name, title, unit, Placement::Free, contenders)
}

/// The cost is the quantile, in thousandths, at half of the rate that the same server reaches.
fn at_half<const CONNECTIONS: usize, const THOUSANDTHS: u32>() -> Vec<Contender> {
    servers(|scratch, server| {
        let mut crowd = Crowd::connect(scratch, server, CONNECTIONS);
        let rate = crowd.highest_rate() / 2.0;
        let quantile = f64::from(THOUSANDTHS) / 1000.0;
        Box::new(move |count| (0..count).map(|_| crowd.latency_at(rate, quantile)).sum())
    })
}

/// The cost is the time for each request at the highest rate.
fn within_bound<const CONNECTIONS: usize>() -> Vec<Contender> {
    servers(|scratch, server| {
        let mut crowd = Crowd::connect(scratch, server, CONNECTIONS);
        Box::new(move |count| (0..count).map(|_| 1e9 / crowd.highest_rate_within_bound()).sum())
    })
}
