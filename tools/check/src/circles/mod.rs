//! Circles of imports between the modules of a crate.
//!
//! A module is a file or an inline `mod`. It uses the modules that define the items which its imports and paths name, through
//! all re-exports. Tests are left out. `mod child` and a re-export of what is below a module are no use. Macros that are found
//! by their place in the text, and methods, are not seen.

mod graph;
mod parse;
mod resolve;

use parse::Crate;
use resolve::Arrows;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// Returns the roots of the crates in the source folder `src`: `lib.rs`, `main.rs` and the programs in `bin`.
///
/// # Errors
///
/// The folder cannot be read.
pub fn roots(src: &Path) -> io::Result<Vec<PathBuf>> {
    let mut roots = vec![src.join("lib.rs"), src.join("main.rs")];
    let bin = src.join("bin");
    if bin.is_dir() {
        for entry in std::fs::read_dir(bin)? {
            let path = entry?.path();
            roots.push(if path.is_dir() { path.join("main.rs") } else { path });
        }
    }
    roots.retain(|root| root.is_file() && root.extension().is_some_and(|extension| extension == "rs"));
    roots.sort();
    Ok(roots)
}

/// Describes each circle in the crate whose root is the file `root`, with the lines that make it.
///
/// # Errors
///
/// A file of the crate cannot be read.
pub fn check(root: &Path) -> io::Result<Vec<String>> {
    let krate = Crate::read(root)?;
    let arrows = resolve::arrows(&krate);
    let mut graph = graph::Graph::new();
    for (from, to) in arrows.keys() {
        graph.entry(*from).or_default().insert(*to);
    }
    Ok(graph::circles(&graph).iter().map(|circle| describe(&krate, &arrows, circle)).collect())
}

fn describe(krate: &Crate, arrows: &Arrows, circle: &[usize]) -> String {
    let mut text = format!("a circle of {} modules:", circle.len());
    for (at, from) in circle.iter().enumerate() {
        let to = circle[(at + 1) % circle.len()];
        let lines: Vec<String> = arrows[&(*from, to)].iter().map(usize::to_string).collect();
        let file = krate.modules[*from].file.display();
        let _ =
            write!(text, "\n  {} uses {}: {file}:{}", name(krate, *from), name(krate, to), lines.join(","));
    }
    text
}

fn name(krate: &Crate, module: usize) -> String {
    match &krate.modules[module].path[..] {
        [] => "the root".to_owned(),
        path => path.join("::"),
    }
}

/// The modules directly in one module, each with all that is below it, and the arrows between them.
#[derive(Debug)]
pub struct Rooms {
    /// The names, in order.
    pub rooms: Vec<String>,
    /// The pairs of rooms of which the first uses the second.
    pub arrows: Vec<(String, String)>,
    /// The rooms that use each other, each circle once.
    pub circles: Vec<Vec<String>>,
}

/// Returns the rooms of `module`, named from the crate's root down, in the crate whose root is the file `root`. `None` if there
/// is no such module.
///
/// # Errors
///
/// A file of the crate cannot be read.
pub fn rooms(root: &Path, module: &str) -> io::Result<Option<Rooms>> {
    let krate = Crate::read(root)?;
    let Some(above) = krate.modules.iter().position(|found| found.path.join("::") == module) else {
        return Ok(None);
    };
    let depth = krate.modules[above].path.len();
    // Files that `cfg` chooses between have one name, and are one room.
    let rooms: BTreeSet<String> = krate.modules[above].children.keys().cloned().collect();
    let rooms: Vec<String> = rooms.into_iter().collect();
    let containing = |module: usize| {
        let is_within = module != above && krate.is_below(module, above);
        is_within.then(|| rooms.iter().position(|room| *room == krate.modules[module].path[depth])).flatten()
    };
    let mut graph = graph::Graph::new();
    for (from, to) in resolve::arrows(&krate).into_keys() {
        match (containing(from), containing(to)) {
            (Some(from), Some(to)) if from != to => {
                graph.entry(from).or_default().insert(to);
            }
            _ => {}
        }
    }
    let named = |at: &usize| rooms[*at].clone();
    let arrows =
        graph.iter().flat_map(|(from, to)| to.iter().map(move |to| (named(from), named(to)))).collect();
    let circles = graph::circles(&graph).iter().map(|circle| circle.iter().map(named).collect()).collect();
    Ok(Some(Rooms { rooms, arrows, circles }))
}
