//! The checks' command.

use running_process_check::circles::{self, Rooms};
use running_process_check::{commits, evidence, guides, prose, repository};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo run -p running-process-check -- CHECK

  circles [SRC...]    circles of imports between modules, in all source folders or those given
  rooms MODULE [SRC]  the modules directly in MODULE (`broker::backend_sdk`), and which of them use each other
  evidence            tests that a document names and that are nowhere
  guides              links of the guides that lead nowhere, as files or in the documentation
  prose [PATH...]     summaries and headings that hide what they are about
  commits             subjects of commits that are too long";

/// Source folders without circles.
const SOURCES: [&str; 3] = ["crates/*/src", "tools/*/src", "fuzz/src"];
/// The library's.
const LIBRARY: &str = "crates/running-process/src";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // All paths are relative to the repository.
    std::env::set_current_dir(repository())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let found = match arguments.iter().map(String::as_str).next() {
        Some("circles") => {
            let mut circles = Vec::new();
            for root in roots(rest)? {
                circles.extend(circles::check(&root)?);
            }
            report("circles of imports", circles.len(), &circles)
        }
        Some("rooms") => {
            let (module, sources) = rest.split_first().ok_or("a module is missing")?;
            let sources = if sources.is_empty() { &[LIBRARY.to_owned()] } else { sources };
            for root in roots(sources)? {
                if let Some(rooms) = circles::rooms(&root, module)? {
                    print_rooms(&rooms);
                    return Ok(ExitCode::SUCCESS);
                }
            }
            return Err(format!("no module {module} in {sources:?}").into());
        }
        Some("prose") => {
            let faults = prose::check(rest)?;
            report("summaries and headings to rewrite", faults.len(), &faults)
        }
        Some("evidence") => {
            let (faults, checked) = evidence::check()?;
            report(&format!("of {checked} named tests are not there"), faults.len(), &faults)
        }
        Some("guides") => {
            let (faults, checked) = guides::check()?;
            report(&format!("of {checked} links of guides have a fault"), faults.len(), &faults)
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

/// Returns the roots of the crates in `sources`, or in all source folders if there are none.
fn roots(sources: &[String]) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut folders: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
    if sources.is_empty() {
        for source in SOURCES {
            folders.extend(matching(source)?);
        }
    }
    let mut all = Vec::new();
    for folder in folders {
        let roots = circles::roots(&folder)?;
        if roots.is_empty() && !sources.is_empty() {
            return Err(format!("no crate's root in {}", folder.display()).into());
        }
        all.extend(roots);
    }
    Ok(all)
}

/// Returns the folders that `pattern` names, in which `*` is any one name.
fn matching(pattern: &str) -> std::io::Result<Vec<PathBuf>> {
    let Some((before, after)) = pattern.split_once("/*/") else { return Ok(vec![PathBuf::from(pattern)]) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(before)? {
        let folder = entry?.path().join(after);
        if folder.is_dir() {
            found.push(folder);
        }
    }
    found.sort();
    Ok(found)
}

fn print_rooms(rooms: &Rooms) {
    for room in &rooms.rooms {
        let uses = rooms.arrows.iter().filter(|(from, _)| from == room).map(|(_, to)| to.as_str());
        println!("{room}: {}", uses.collect::<Vec<_>>().join(" "));
    }
    for circle in &rooms.circles {
        println!("circle: {}", circle.join(" > "));
    }
    println!("{} rooms, {} arrows, {} circles", rooms.rooms.len(), rooms.arrows.len(), rooms.circles.len());
}
