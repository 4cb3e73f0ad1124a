//! The inputs that are kept: for each target a text file, with the digits of one input in each line.

use crate::Target;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fs, io};

/// Returns the inputs of the target.
///
/// # Errors
///
/// The target has no file, or it is malformed.
pub fn read(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    fs::read_to_string(path(target))?
        .lines()
        .map(|line| unhex(line).ok_or(io::ErrorKind::InvalidData.into()))
        .collect()
}

/// Writes the inputs of the target, the shortest first.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(target: &Target, mut inputs: Vec<Vec<u8>>) -> io::Result<()> {
    inputs.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    inputs.dedup();
    let mut text = String::new();
    for input in inputs {
        for byte in input {
            let _infallible = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    fs::write(path(target), text)
}

fn path(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name).with_extension("hex")
}

fn unhex(line: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = line.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}
