//! The bare name of a pipe.

use super::super::error::NameError;
use crate::sys::windows_pipe::PipePath;

const PREFIX: &str = r"\\.\pipe\";
/// Longest name in UTF-16 units: `CreateNamedPipeW` takes 256 with the prefix.
const MAX_UNITS: usize = 256 - PREFIX.len();

/// Returns the full path of the pipe `name`, which must not be empty, contain a NUL, carry the prefix or be too long.
pub(super) fn path(name: &str) -> Result<PipePath, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    // The system accepts either slash, any case, and `?` in the place of the dot.
    let plain = name.to_ascii_lowercase().replace('/', r"\");
    if plain.starts_with(PREFIX) || plain.starts_with(r"\\?\pipe\") {
        return Err(NameError::AlreadyPrefixed { name: name.to_owned() });
    }
    let length = name.encode_utf16().count();
    if length > MAX_UNITS {
        return Err(NameError::TooLong { length, max: MAX_UNITS });
    }
    PipePath::new(&format!("{PREFIX}{name}")).ok_or_else(|| NameError::Invalid { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_refused_in_every_spelling() {
        for name in [r"\\.\pipe\a", r"\\.\PIPE\a", "//./pipe/a", r"\\?\pipe\a"] {
            assert!(matches!(path(name), Err(NameError::AlreadyPrefixed { .. })), "{name}");
        }
        assert!(path("pipe").is_ok());
    }
}
