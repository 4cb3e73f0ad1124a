//! The cases of clients.

mod answers;
mod encodings;
mod probes;
mod refused;
mod sent;

use super::case::ClientCase;

/// Returns all cases.
pub(super) fn all() -> Vec<&'static ClientCase> {
    [answers::CASES, refused::CASES, probes::CASES, encodings::CASES, sent::CASES]
        .into_iter()
        .flatten()
        .collect()
}
