//! The command line.

use crate::measure::Effort;
use crate::place::Placement;
use crate::process::is_installed;
use crate::row::{Pace, Row};
use std::process::exit;
use std::time::Duration;

const USAGE: &str = "\
Measures this library next to the published one, to others, and to the least that each task can cost.

usage: benches [options]

  --rows NAME,...       only rows whose names begin so
  --list                name the rows, and measure nothing
  --syscalls            count system calls as well, with strace
  --builds              take the time of clean release builds as well, which takes minutes
  --write               all of this but the builds, and write docs/benchmarks.md and its charts
  --once                do everything once, to see that it works
  --rounds N            at most so many rounds [61]
  --cpus free|one|two   where clients and servers run, instead of what each row asks for
";

pub struct Options {
    pub effort: Effort,
    pub write: bool,
    pub list: bool,
    rows: Vec<String>,
    builds: bool,
}

impl Options {
    /// Parses the arguments. Ends the process if they are wrong or ask for help.
    pub fn of_process(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            effort: Effort {
                rounds: 61,
                row: Duration::from_secs(4),
                sample: Duration::from_millis(3),
                placement: None,
                system_calls: false,
            },
            write: false,
            list: false,
            rows: Vec::new(),
            builds: false,
        };
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().unwrap_or_else(|| wrong(&format!("{argument} needs a value")));
            match argument.as_str() {
                "--rows" => options.rows = value().split(',').map(String::from).collect(),
                "--list" => options.list = true,
                "--syscalls" => options.effort.system_calls = true,
                "--builds" => options.builds = true,
                "--write" => (options.write, options.effort.system_calls) = (true, true),
                "--once" => options.effort = options.effort.once(),
                "--rounds" => match value().parse() {
                    Ok(rounds @ 1..) => options.effort.rounds = rounds,
                    _ => wrong("--rounds needs a number from 1"),
                },
                "--cpus" => match Placement::named(&value()) {
                    Some(placement) => options.effort.placement = Some(placement),
                    None => wrong("--cpus is free, one or two"),
                },
                "--help" | "-h" => {
                    print!("{USAGE}");
                    exit(0)
                }
                unknown => wrong(&format!("{unknown} is not known")),
            }
        }
        if options.write && (!options.rows.is_empty() || options.effort.is_once()) {
            wrong("--write records all rows, properly measured");
        }
        options.effort.system_calls &= is_installed("strace");
        options
    }

    pub fn wants(&self, row: &Row) -> bool {
        if self.rows.is_empty() {
            self.builds || row.pace != Pace::OnceIfAsked
        } else {
            self.rows.iter().any(|beginning| row.name.starts_with(beginning))
        }
    }
}

fn wrong(problem: &str) -> ! {
    eprint!("{problem}\n\n{USAGE}");
    exit(2)
}
