//! Tests that run in a process of their own. Each is marked as ignored, and another test runs it in a copy of this program.

use std::process::Command;

/// Returns the arguments with which a copy of this program runs `test` alone.
pub(crate) fn arguments<T: Fn()>(_test: T) -> [&'static str; 3] {
    // A test is named by its path without the crate.
    let (_crate, name) = std::any::type_name::<T>().split_once("::").unwrap();
    ["--exact", name, "--ignored"]
}

/// Returns a command that runs `test` alone.
pub(crate) fn command(test: impl Fn()) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments(test));
    command
}

/// Checks that a copy of this program ran its test, and that the test passed.
#[cfg(unix)]
#[track_caller]
pub(crate) fn assert_passed(output: &std::process::Output) {
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}{errors}");
}
