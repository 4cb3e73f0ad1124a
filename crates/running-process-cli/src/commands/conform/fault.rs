//! The fault that a case has found.

use std::fmt::Display;

/// The way in which a daemon breaks the rule of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) expected: String,
    pub(super) got: String,
    /// The bytes that were expected, if they are certain.
    pub(super) expected_bytes: Vec<u8>,
}

impl Fault {
    pub(super) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into(), expected_bytes: Vec::new() }
    }

    /// Puts the circumstances before the expectation.
    pub(super) fn context(self, circumstances: impl Display) -> Self {
        Self { expected: format!("{circumstances}: {}", self.expected), ..self }
    }
}

/// Fails unless `is_right`.
pub(super) fn check(
    is_right: bool,
    expected: impl Into<String>,
    got: impl FnOnce() -> String,
) -> Result<(), Fault> {
    if is_right { Ok(()) } else { Err(Fault::new(expected, got())) }
}
