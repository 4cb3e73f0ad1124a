//! The choice of cases by the patterns of `--only` and `--skip`.

use super::case::Description;
use crate::failure::Failure;

/// Patterns of names, in which `*` stands for any characters and `?` for one.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    only: &'a [String],
    skip: &'a [String],
}

impl<'a> Selection<'a> {
    pub(super) fn new(only: &'a [String], skip: &'a [String]) -> Self {
        Self { only, skip }
    }

    /// Returns the chosen cases. A pattern that no case matches is an error, since it is a slip.
    pub(super) fn of<C>(&self, cases: Vec<C>, about: fn(&C) -> &Description) -> Result<Vec<C>, Failure> {
        let is_known = |pattern: &&String| cases.iter().any(|case| matches(pattern, about(case).name));
        if let Some(pattern) = self.only.iter().chain(self.skip).find(|pattern| !is_known(pattern)) {
            return Err(Failure::usage(format!("no case is called like \"{pattern}\""))
                .hint("running-process conform --list prints the names"));
        }
        let is_any = |patterns: &[String], name| patterns.iter().any(|pattern| matches(pattern, name));
        let is_chosen = |case: &C| {
            let name = about(case).name;
            (self.only.is_empty() || is_any(self.only, name)) && !is_any(self.skip, name)
        };
        Ok(cases.into_iter().filter(is_chosen).collect())
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => (0..=name.len()).any(|from| matches(rest.as_str(), &name[from..])),
        Some(char) => name
            .strip_prefix(|first| char == '?' || char == first)
            .is_some_and(|name| matches(rest.as_str(), name)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_one() {
        for pattern in ["probe-echo-id", "*", "probe-*", "*-id", "p*e*d", "probe-echo-??", "probe-echo-id*"] {
            assert!(matches(pattern, "probe-echo-id"), "{pattern}");
        }
        for pattern in ["", "probe", "probe-?", "*-ids", "echo", "probe-echo-id?"] {
            assert!(!matches(pattern, "probe-echo-id"), "{pattern}");
        }
    }
}
