//! The cost of the library next to the published peer, to others, and to the least that each task can cost.

#![allow(unsafe_code, reason = "the one thread of a process may change its environment")]

mod alloc;
mod artifact;
mod cli;
mod floor;
mod measure;
mod party;
mod place;
mod process;
mod report;
mod row;
mod rows;
mod scratch;
mod worker;

use cli::Options;
use scratch::Scratch;
use std::path::Path;
use std::time::Instant;

/// Runs as the measuring process or as one of the processes that it starts.
fn main() {
    let begin = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", row, index, client, server, directory] => {
            worker::work(row, index, client, server, directory);
        }
        ["serve", name, cpu, socket] => party::serve(name, cpu, Path::new(socket)),
        ["service", root] => party::ours::serve_service(Path::new(root)),
        ["short", name, socket] => party::short::main(begin, name, Path::new(socket)),
        _ => compare(&Options::of_process(arguments.into_iter())),
    }
}

fn compare(options: &Options) {
    if options.list {
        return rows::all().for_each(|row| println!("{:<16} {}", row.name, row.title));
    }
    // SAFETY: the process has no other thread yet.
    let scratch = unsafe { Scratch::new() };
    for program in [party::redis::PROGRAM, "strace"].into_iter().filter(|name| !process::is_installed(name)) {
        println!("{program} is not installed: what needs it is left out");
    }
    report::print_heading();
    let mut groups = Vec::new();
    for (group, rows) in rows::groups() {
        let mut results = Vec::new();
        for row in rows.into_iter().filter(|row| options.wants(row)) {
            let measured = measure::measure(&row, options.effort, &scratch);
            report::print(&row, &measured);
            results.push((row, measured));
        }
        groups.push((group, results));
    }
    if options.write {
        report::write(&groups);
    }
}
