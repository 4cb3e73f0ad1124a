//! What the library costs, next to the published peer, to others, and to the least that each task can cost.

#![allow(unsafe_code, reason = "the one thread of a process may change its environment")]

mod alloc;
mod floor;
mod measure;
mod party;
mod place;
mod process;
mod report;
mod rows;
mod scratch;
mod worker;

use measure::Effort;
use place::Placement;
use scratch::Scratch;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let begin = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", row, index, client, server, directory] => {
            worker::work(row, index, client, server, directory)
        }
        ["short", name, socket] => party::short::main(begin, name, Path::new(socket)),
        ["serve", name, cpu, socket] => party::serve(name, cpu, Path::new(socket)),
        _ => compare(&args),
    }
}

fn compare(args: &[String]) {
    // SAFETY: this is the process's only thread yet.
    let scratch = unsafe { Scratch::new() };
    let value = |flag: &str| args.iter().position(|a| a == flag).map(|at| args[at + 1].as_str());
    let flag = |flag: &str| args.iter().any(|a| a == flag);
    let effort = if flag("--once") {
        Effort::ONCE
    } else {
        Effort {
            rounds: value("--rounds").map_or(61, |n| n.parse().unwrap()),
            row: Duration::from_secs(6),
            sample: Duration::from_millis(3),
            placement: value("--cpus").map(|name| Placement::named(name).unwrap()),
            system_calls: flag("--syscalls"),
        }
    };
    let only: Option<Vec<&str>> = value("--rows").map(|rows| rows.split(',').collect());
    report::heading();
    for row in rows::all() {
        if only.as_ref().map_or(row.pace != measure::Pace::OnceIfAsked, |only| {
            only.iter().any(|name| row.name.starts_with(name))
        }) {
            report::print(&row, &measure::measure(&row, effort, &scratch));
        }
    }
}
