//! The cases, in the order of docs/wire.md.

mod cancels;
mod framing;
mod identity;
mod probe;
mod refusals;

use super::case::Case;
use super::frame::RawFrame;
use super::trial::{Fault, check};

/// Returns all cases.
pub(super) fn all() -> Vec<&'static Case> {
    let groups = [framing::CASES, probe::CASES, cancels::CASES, refusals::CASES, identity::CASES];
    groups.into_iter().flatten().collect()
}

/// Checks that a frame has no tags of ours, which a client gets only if it sent some.
fn check_no_tags_of_ours(frame: &RawFrame) -> Result<(), Fault> {
    let ours = frame.others.iter().find(|field| field.tag >= 1000);
    check(ours.is_none(), "no field with a tag from 1000 on", || {
        format!("one with the tag {}", ours.map_or(0, |field| field.tag))
    })
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::BTreeSet;

    #[test]
    fn each_case_has_a_name_of_its_own_a_sentence_and_a_section_of_the_documentation() {
        let wire = include_str!("../../../../../docs/wire.md");
        let mut names = BTreeSet::new();
        for case in all() {
            let is_plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
            assert!(case.name.contains('-') && case.name.chars().all(is_plain), "{}", case.name);
            assert!(names.insert(case.name), "{} is there twice", case.name);
            assert!(case.rule.ends_with('.') && case.rule.len() <= 120, "{}", case.rule);
            assert!(wire.contains(&format!("\n## {}\n", case.section)), "{}: {}", case.name, case.section);
        }
    }
}
