//! Daemons on the published versions, judged by the command `conform`. The rules that they break are listed, with reasons, in
//! `interop/conform`.

use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, Program};
use serde_json::Value;

/// Judges a daemon. Each failure must be listed. One that is listed may pass: whether a daemon has met the end of a stream in time
/// depends on the machine.
#[track_caller]
fn judge(program: Program, known: &str) {
    if !program.is_wanted() {
        return;
    }
    let Some(command) = std::env::var_os("RUNNING_PROCESS") else {
        eprintln!("skipped: RUNNING_PROCESS does not name the command; interop/run.sh builds it");
        return;
    };
    let daemon = Daemon::start_with(program, &[Path::new("conformance")]);
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conform").join(known);
    let mut judge = Command::new(command);
    judge
        .args(["conform", "--json", "--timeout", "60s", "--protocol", "0xF0C0", "--socket"])
        .arg(daemon.socket());
    judge.arg("--identity").arg(daemon.identity_file()).arg("--expect").arg(known);
    let judged = judge.output().expect("the command can be run");
    let text = String::from_utf8(judged.stdout).expect("JSON is text");
    let objects: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let is_unexpected = |object: &&Value| {
        let outcome = &object["outcome"];
        *outcome == "failed" || *outcome == "skipped"
    };
    let unexpected: Vec<&Value> = objects.iter().filter(is_unexpected).collect();
    assert!(unexpected.is_empty(), "{program:?}: {unexpected:#?}");
    let errors = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success() && objects.len() > 80, "{program:?}: {:?}: {errors}", judged.status);
}

#[test]
fn the_sha256_generation_breaks_no_rule_that_is_not_listed() {
    judge(Program::Published("4.5.7"), "4.5.7.toml");
}

#[test]
fn the_blake3_generation_breaks_no_rule_that_is_not_listed() {
    judge(Program::Published("4.10.21"), "4.10.21.toml");
}

#[test]
fn the_mux_of_this_library_in_the_same_loop_breaks_no_rule_that_is_not_listed() {
    judge(Program::Ours, "ours.toml");
}
