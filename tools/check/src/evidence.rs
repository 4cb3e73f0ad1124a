//! Tests that a document names as evidence.

use crate::{git, lines_of};
use std::collections::HashSet;
use std::error::Error;

/// Documents that name tests.
const DOCUMENTS: [&str; 3] = ["SECURITY.md", "docs/reliability.md", "docs/security-review.md"];

/// Returns a line for each test that a document names and that is nowhere, and the number of names checked.
///
/// # Errors
///
/// git cannot list the files, or one of them cannot be read.
pub fn check() -> Result<(Vec<String>, usize), Box<dyn Error>> {
    let mut known = HashSet::new();
    for file in git(&["ls-files", "-z", "--", "*.rs"])?.split_terminator('\0') {
        known.extend(lines_of(file)?.iter().filter_map(|line| function(line)).map(str::to_owned));
    }
    let (mut faults, mut checked) = (Vec::new(), 0);
    for document in DOCUMENTS {
        for (number, line) in lines_of(document)?.iter().enumerate() {
            for name in names(line) {
                checked += 1;
                if !known.contains(name) {
                    faults.push(format!("{document}:{}: there is no test {name}", number + 1));
                }
            }
        }
    }
    Ok((faults, checked))
}

/// Returns the name of the function that begins in the line.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_qualified = before.split_whitespace().all(|word| word.starts_with("pub") || word == "async");
    let end = rest.find(|letter: char| !is_of_a_name(letter))?;
    is_qualified.then(|| &rest[..end])
}

/// Returns the names of tests in a line of Markdown: sentences with underscores between backticks.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.chars().all(is_of_a_name) && text.matches('_').count() >= 3)
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::{function, names};

    #[test]
    fn a_function_is_told_by_its_name() {
        assert_eq!(function("fn a_test_is_here() {"), Some("a_test_is_here"));
        assert_eq!(function("    async fn one_more<D: Driver>() {"), Some("one_more"));
        assert_eq!(function("    pub(crate) fn shared("), Some("shared"));
        assert_eq!(function("// the fn which_is_a_comment()"), None);
    }

    #[test]
    fn sentences_between_backticks_are_names_of_tests() {
        let line =
            "| `a_peer_that_is_here`, `Policy::strict`, `ci/model.sh`, `is_usable` and `it_is_a_test` |";
        assert_eq!(names(line).collect::<Vec<_>>(), ["a_peer_that_is_here", "it_is_a_test"]);
    }
}
