//! The checks' command.

use running_process_check::{commits, prose};
use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo run -p running-process-check -- CHECK

  prose [PATH...]  summaries and headings that hide what they are about
  commits          subjects of commits that are too long";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let found = match arguments.iter().map(String::as_str).next() {
        Some("prose") => {
            let faults = prose::check(&arguments[1..])?;
            report("summaries and headings to rewrite", faults.len(), &faults)
        }
        Some("commits") => {
            let (faults, checked) = commits::check()?;
            report(&format!("of {checked} commits have a long subject"), faults.len(), &faults)
        }
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report<F: std::fmt::Display>(what: &str, found: usize, faults: &[F]) -> usize {
    for fault in faults {
        println!("{fault}");
    }
    println!("{found} {what}");
    found
}
