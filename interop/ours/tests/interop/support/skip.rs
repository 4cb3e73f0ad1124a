//! Tests of programs that are not there.

use std::io::{Write, stderr};
use std::path::PathBuf;

/// Says why a test is skipped. The gate sets `CI` and installs every program, so it is a failure there.
#[track_caller]
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "not to be skipped in the gate: {reason}");
    // Unlike `eprintln!`, this is shown for a test that passes, too.
    let _closed = writeln!(stderr(), "skipped: {reason}");
}

/// Returns the programs of the wheels that `run.sh` has installed and named in `variable`; skips the test if there are none.
#[track_caller]
pub fn wheels(variable: &str) -> Option<PathBuf> {
    let programs = std::env::var_os(variable).map(PathBuf::from);
    if programs.is_none() {
        skip(&format!("{variable} does not name installed wheels; interop/run.sh installs them"));
    }
    programs
}

/// Returns whether `program` is installed; skips the test if it is not.
#[track_caller]
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).exists());
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}
