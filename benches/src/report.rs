//! The table, for people.

use crate::measure::{Measured, Role, Row, Unit};

pub fn heading() {
    println!(
        "{:<6} {:<40} {:>12} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "", "", "median", "/ floor", "/ peer", "allocs", "syscalls", "to reach"
    );
}

pub fn print(row: &Row, contenders: &[Measured]) {
    println!("\n{}: {}", row.name, row.title);
    for one in contenders {
        let reached = match one.reached() {
            Some(true) => " ok",
            Some(false) => " --",
            None => "",
        };
        println!(
            "{:<6} {:<40} {:>12} {:>8} {:>8} {:>8} {:>8} {:>9}{reached}",
            role(one.role),
            one.name,
            cost(row.unit, one.cost),
            ratio(one.to_floor),
            ratio(one.to_peer),
            count(one.allocations),
            count(one.system_calls),
            ratio(one.goal_in_floors()),
        );
    }
}

pub fn role(role: Role) -> &'static str {
    match role {
        Role::Floor => "floor",
        Role::Ours => "ours",
        Role::Peer => "peer",
        Role::Other => "other",
    }
}

pub fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

/// Exact counts are whole; what is not was shared by several operations.
pub fn count(count: Option<f64>) -> String {
    count.map_or_else(String::new, |count| {
        if (count - count.round()).abs() < 0.005 { format!("{count:.0}") } else { format!("{count:.2}") }
    })
}

pub fn cost(unit: Unit, cost: f64) -> String {
    match unit {
        Unit::Time => scaled(cost, &[(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")]),
        Unit::Rate => scaled(1e9 / cost, &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")]),
        Unit::Throughput(bytes) => {
            scaled(bytes as f64 * 1e9 / cost, &[(1e9, "GB/s"), (1e6, "MB/s"), (1.0, "B/s")])
        }
        Unit::Bytes => scaled(cost, &[(1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")]),
        Unit::Count => count(Some(cost)),
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let (scale, unit) =
        units.iter().find(|(scale, _)| value >= *scale).or(units.last()).expect("there are units");
    let value = value / scale;
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}
