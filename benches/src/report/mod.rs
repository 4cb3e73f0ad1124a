//! Reports: a table while rows are measured, and a document with a chart in `docs/`.

mod chart;
mod environment;
mod growth;
mod markdown;

use crate::measure::Measured;
use crate::row::{Goal, Role, Row, Unit};
use crate::rows::crowd;
use std::fs;
use std::path::Path;

/// A row and its results.
pub type Result = (Row, Vec<Measured>);

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

/// Writes the document and the charts.
pub fn write(groups: &[(&'static str, Vec<Result>)]) {
    let docs = Path::new(DOCS);
    fs::write(docs.join("benchmarks.md"), markdown::render(groups)).expect("docs/ is there");
    let results: Vec<&Result> = groups.iter().flat_map(|(_, results)| results).collect();
    fs::write(docs.join("benchmarks.svg"), chart::render(&results)).expect("docs/ is there");
    let growing: Vec<&Result> =
        results.into_iter().filter(|(row, _)| row.name.starts_with(crowd::NAME)).collect();
    fs::write(docs.join("connections.svg"), growth::render(&growing)).expect("docs/ is there");
}

pub fn print_heading() {
    let columns = ["", "", "median", "/ floor", "/ peer", "allocs", "syscalls", "to reach"];
    print_line(&columns.map(String::from));
}

pub fn print(row: &Row, contenders: &[Measured]) {
    println!("\n{}: {}", row.name, row.title);
    for one in contenders {
        print_line(&[
            role(one.role).into(),
            one.name.into(),
            cost(row.unit, one.cost),
            ratio(one.to_floor),
            ratio(one.to_peer),
            count(one.allocations),
            count(one.system_calls),
            goal(row.unit, one),
        ]);
    }
}

fn print_line([role, name, cost, floor, peer, allocations, calls, goal]: &[String; 8]) {
    println!("{role:<6} {name:<40} {cost:>12} {floor:>8} {peer:>8} {allocations:>8} {calls:>8} {goal:>14}");
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Floor => "floor",
        Role::Ours => "ours",
        Role::Peer => "peer",
        Role::Other => "other",
    }
}

/// Formats the goal and whether it is reached.
fn goal(unit: Unit, one: &Measured) -> String {
    let goal = match one.goal {
        Some(Goal::Floors(floors)) => format!("{floors:.2} x"),
        Some(Goal::Cost(most)) => cost(unit, most),
        None => return String::new(),
    };
    format!("{goal} {}", if one.is_reached() { "✓" } else { "✗" })
}

fn ratio(ratio: Option<f64>) -> String {
    let Some(ratio) = ratio else { return String::new() };
    // More digits for a small cost, which would be a zero else.
    let decimals = if ratio < 0.095 { 4 } else { 2 };
    format!("{ratio:.decimals$}")
}

/// Formats an exact count: a whole number unless several operations share it.
fn count(count: Option<f64>) -> String {
    let Some(count) = count else { return String::new() };
    if (count - count.round()).abs() < 0.005 { format!("{count:.0}") } else { format!("{count:.2}") }
}

fn cost(unit: Unit, cost: f64) -> String {
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

/// Formats three digits in the largest unit that leaves one before the point.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let (scale, unit) = units.iter().find(|(scale, _)| value >= *scale).or(units.last()).expect("units");
    let value = value / scale;
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_has_three_digits_in_the_unit_that_fits() {
        assert_eq!(cost(Unit::Time, 0.512), "0.51 ns");
        assert_eq!(cost(Unit::Time, 23_456.0), "23.5 us");
        assert_eq!(cost(Unit::Rate, 250.0), "4.00 M/s");
        assert_eq!(cost(Unit::Throughput(1_000_000), 200_000.0), "5.00 GB/s");
        assert_eq!(cost(Unit::Bytes, 2048.0), "2.00 KiB");
        assert_eq!(cost(Unit::Count, 240.0), "240");
    }

    #[test]
    fn a_small_ratio_does_not_look_like_nothing() {
        assert_eq!(ratio(Some(1.5)), "1.50");
        assert_eq!(ratio(Some(0.0012)), "0.0012");
        assert_eq!(ratio(None), "");
    }
}
