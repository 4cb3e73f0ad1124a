//! Links of the guides, which are read as files of the repository and as pages of the library's documentation.
//!
//! A guide links by reference: `[text][wire.md#bounds]`, with the definition `[wire.md#bounds]: wire.md#bounds` at its end. The
//! documentation has definitions of its own for the same labels, in `DEFINITIONS`, which rustdoc checks.

use crate::{git, lines_of, repository};
use std::error::Error;
use std::path::Path;

const DEFINITIONS: &str = "crates/running-process/src/docs/links.md";
/// A page of figures with a chart, and pages about what is beside the library.
const OTHERS: [&str; 4] = ["docs/benchmarks.md", "docs/beyond.md", "docs/c.md", "docs/python.md"];

/// Returns a line for each link of a guide that leads nowhere in one of the two places, and the number of links checked.
///
/// # Errors
///
/// git cannot list the guides, or one of them cannot be read.
pub fn check() -> Result<(Vec<String>, usize), Box<dyn Error>> {
    let documented: Vec<String> =
        lines_of(DEFINITIONS)?.iter().filter_map(|line| Some(definition(line)?.0.to_owned())).collect();
    let (mut faults, mut checked) = (Vec::new(), 0);
    for guide in git(&["ls-files", "-z", "--", "docs/*.md"])?.split_terminator('\0') {
        if OTHERS.contains(&guide) {
            continue;
        }
        let lines = lines_of(guide)?;
        let definitions: Vec<_> = lines.iter().filter_map(|line| definition(line)).collect();
        checked += definitions.len();
        let mut fault = |text: String| faults.push(format!("{guide}: {text}"));
        for (label, target) in &definitions {
            if label != target {
                fault(format!("the label [{label}] is not its target, {target}"));
            } else if !leads_to_a_file(guide, target) {
                fault(format!("[{label}] leads to no file"));
            } else if !documented.iter().any(|known| known == label) {
                fault(format!("[{label}] has no definition in {DEFINITIONS}"));
            }
        }
        for line in &lines {
            for target in inline(line) {
                fault(format!("({target}) is inline: write [text][{target}], and a definition at the end"));
            }
            for label in references(line) {
                if !definitions.iter().any(|(known, _)| *known == label) {
                    fault(format!("[{label}] is not defined"));
                }
            }
        }
    }
    Ok((faults, checked))
}

fn leads_to_a_file(guide: &str, target: &str) -> bool {
    let file = target.split('#').next().unwrap_or_default();
    Path::new(guide).parent().is_some_and(|folder| repository().join(folder).join(file).exists())
}

/// Returns label and target of a definition: `[label]: target`.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

/// Returns the targets of inline links to guides. Files outside of the guides' folder have no page in the documentation.
fn inline(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains(':') && !target.starts_with(['#', '.']))
}

/// Returns the labels of links by reference.
fn references(line: &str) -> impl Iterator<Item = &str> {
    line.split("][").skip(1).filter_map(|rest| Some(rest.split_once(']')?.0))
}

#[cfg(test)]
mod tests {
    use super::{definition, inline, references};

    #[test]
    fn links_are_told_by_their_form() {
        let line = "see [one](one.md), [here](#below), [two][two.md#a] and [far](https://example.org)";
        assert_eq!(inline(line).collect::<Vec<_>>(), ["one.md"]);
        assert_eq!(references(line).collect::<Vec<_>>(), ["two.md#a"]);
        assert_eq!(definition("[two.md#a]: two.md#a"), Some(("two.md#a", "two.md#a")));
        assert_eq!(definition(line), None);
    }
}
