//! The checks: pure functions from facts to findings, one file for each family.

mod ending;
mod files;
mod place;
mod program;
pub(super) mod sockets;
mod state;

use super::facts::Facts;
use super::finding::Finding;

/// Returns all findings about a service.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    [state::check, place::check, files::check, program::check, ending::check]
        .iter()
        .flat_map(|check| check(facts))
        .collect()
}
