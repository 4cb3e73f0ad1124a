//! Checks of the source text that no compiler makes. `cargo run -p running-process-check` says how they are started.

pub mod circles;
pub mod commits;
pub mod evidence;
pub mod guides;
pub mod lexer;
pub mod prose;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the lines of a file of the repository.
fn lines_of(file: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let path = repository().join(file);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Runs git in the repository and returns its standard output.
///
/// # Errors
///
/// git cannot be started or fails; the error has its words.
pub fn git(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new("git").current_dir(repository()).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
