//! Subjects of commits.

use crate::git;
use std::error::Error;

/// The last commit before the rule; older subjects stay as they are.
const BASE: &str = "906da6b";
const MOST: usize = 72;

/// Returns a line for each commit since `BASE` whose subject is too long, and the number of commits checked. A shallow
/// clone without `BASE` holds only later commits, so all of them are checked.
///
/// # Errors
///
/// git cannot be started or fails.
pub fn check() -> Result<(Vec<String>, usize), Box<dyn Error>> {
    let has_base = git(&["cat-file", "-e", &format!("{BASE}^{{commit}}")]).is_ok();
    let range = if has_base { format!("{BASE}..HEAD") } else { "HEAD".to_owned() };
    let log = git(&["log", "--format=%h %s", &range])?;
    Ok((log.lines().filter_map(fault).collect(), log.lines().count()))
}

fn fault(line: &str) -> Option<String> {
    let (commit, subject) = line.split_once(' ').unwrap_or((line, ""));
    let length = subject.chars().count();
    (length > MOST)
        .then(|| format!("{commit}: the subject has {length} characters, at most {MOST}: {subject}"))
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn a_subject_of_seventy_three_characters_is_too_long() {
        assert_eq!(fault(&format!("abc {}", "é".repeat(72))), None);
        assert!(fault(&format!("abc {}", "é".repeat(73))).expect("a fault").contains("73 characters"));
    }
}
