//! What the library costs, next to the published peer, to others, and to the least that each task can cost.

mod alloc;
mod floor;
mod measure;
mod party;
mod process;
mod report;
mod rows;
mod scratch;

use measure::Effort;
use scratch::Scratch;
use std::path::Path;
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name, socket] => party::serve(name, Path::new(socket)),
        _ => compare(&args),
    }
}

fn compare(args: &[String]) {
    let scratch = Scratch::new();
    let effort = if args.iter().any(|a| a == "--once") {
        Effort::ONCE
    } else {
        Effort { rounds: 21, sample: Duration::from_millis(20) }
    };
    let only: Option<Vec<&str>> =
        args.iter().position(|a| a == "--rows").map(|at| args[at + 1].split(',').collect());
    report::heading();
    for row in rows::all() {
        if only.as_ref().is_none_or(|only| only.iter().any(|name| row.name.starts_with(name))) {
            report::print(&row, &measure::measure(&row, effort, &scratch));
        }
    }
}
