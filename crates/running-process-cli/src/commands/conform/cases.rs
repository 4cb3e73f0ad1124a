//! The cases, in the order of docs/wire.md.

mod cancels;
mod daemon_identity;
mod encodings;
mod events;
mod fields;
mod framing;
mod hostile;
mod identity;
mod probe;
mod refusals;
mod requests;

use super::case::{Case, Description};

/// Returns all cases.
pub(super) fn all() -> Vec<&'static Case> {
    let groups = [
        framing::CASES,
        fields::CASES,
        refusals::CASES,
        probe::CASES,
        requests::CASES,
        cancels::CASES,
        events::CASES,
        encodings::CASES,
        identity::CASES,
        hostile::CASES,
    ];
    groups.into_iter().flatten().collect()
}

/// Returns the descriptions of all cases.
pub(super) fn descriptions() -> Vec<&'static Description> {
    all().into_iter().map(|case| &case.about).collect()
}

#[cfg(test)]
mod tests {
    use crate::commands::conform::client;
    use std::collections::BTreeSet;

    #[test]
    fn each_case_has_a_name_of_its_own_a_sentence_and_a_section_of_the_documentation() {
        let wire = include_str!("../../../docs/wire.md");
        for cases in [super::descriptions(), client::descriptions()] {
            let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
            assert_eq!(names.len(), cases.len(), "a name is there twice");
        }
        for case in super::descriptions().into_iter().chain(client::descriptions()) {
            let is_plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
            assert!(case.name.chars().all(is_plain), "{}", case.name);
            assert!(case.rule.ends_with('.') && case.rule.len() <= 120, "{}", case.rule);
            assert!(wire.contains(&format!("\n## {}\n", case.section)), "{}: {}", case.name, case.section);
        }
    }
}
