//! The cases that are known to fail, from the file of `--expect`.

use super::case::Description;
use crate::failure::Failure;
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The reasons why cases are known to fail, by their names.
#[derive(Debug, Default)]
pub(super) struct Expected(BTreeMap<String, String>);

impl Expected {
    /// Reads a TOML file of names of `cases` and reasons, if there is one.
    pub(super) fn read(file: Option<&Path>, cases: &[&Description]) -> Result<Self, Failure> {
        let Some(file) = file else { return Ok(Self::default()) };
        let unusable = |failure: Failure| {
            failure
                .kind("expectations_unusable")
                .context(format!("the file of --expect {} cannot be used", file.display()))
                .hint("name a TOML file with a line for each case: case-name = \"reason\"")
        };
        let text = std::fs::read_to_string(file).map_err(|error| unusable(Failure::undecided(error)))?;
        Self::parse(&text, cases).map_err(|error| unusable(Failure::undecided(error)))
    }

    fn parse(text: &str, cases: &[&Description]) -> Result<Self, String> {
        let table = DeTable::parse(text).map_err(|error| error.to_string())?;
        let mut reasons = BTreeMap::new();
        for (name, reason) in table.get_ref() {
            let name = name.get_ref().to_string();
            if !cases.iter().any(|case| case.name == name) {
                return Err(format!("no case is called {name}"));
            }
            match reason.get_ref() {
                DeValue::String(reason) if !reason.trim().is_empty() => {
                    reasons.insert(name, reason.to_string())
                }
                _ => return Err(format!("the reason of {name} is no text, or empty")),
            };
        }
        Ok(Self(reasons))
    }

    /// Returns the reason why the case is known to fail.
    pub(super) fn reason(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::Expected;

    #[test]
    fn a_known_case_has_a_reason() {
        let cases = cases::descriptions();
        let expected = Expected::parse("probe-body-4097 = 'no bound'", &cases).unwrap();
        assert_eq!(expected.reason("probe-body-4097"), Some("no bound"));
        assert_eq!(expected.reason("probe-body-4096"), None);
        for wrong in ["probe-answered = ''", "probe-answered = 1", "unknown = 'x'", "probe"] {
            assert!(Expected::parse(wrong, &cases).is_err(), "{wrong}");
        }
    }
}
