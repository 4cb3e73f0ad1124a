//! `running-process conform`: good daemons and clients pass every case, and each broken one fails the case of its rule.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

mod clients;
mod daemons;

use running_process_acceptance::sibling;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

/// Longer than any case of a good program takes on a busy machine.
const TIMEOUT: &str = "50s";
/// The time limit of a case that fails, of which some wait until then.
const FAILED_TIMEOUT: &str = "2s";
/// Programs that are judged at once.
const WORKERS: usize = 4;

/// The broken rules of a program, each with the cases that find it.
type Rules = &'static [(&'static str, &'static [&'static str])];

/// Runs the judge, and returns the objects of the cases that did not pass, each by its name and outcome.
fn judge(program: &str, arguments: &[&str]) -> BTreeSet<(String, String)> {
    let mut command = Command::new(sibling(program, "running-process"));
    let output =
        command.args(["conform", "--json", "--protocol", "0xF0C0"]).args(arguments).output().unwrap();
    let stdout = str::from_utf8(&output.stdout).unwrap();
    let objects: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.last().is_some_and(|end| end["event"] == "end"), "{command:?}: {output:?}");
    let cases = objects.iter().filter(|object| object["event"] == "case" && object["outcome"] != "passed");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    cases.map(|case| (text(&case["name"]), text(&case["outcome"]))).collect()
}

/// Checks that `found` returns, for each rule of the program, at least the cases of the table, and that the table is complete.
fn each_is_found(
    program: &str,
    rules: Rules,
    found: impl Fn(&str, &[&str]) -> BTreeSet<(String, String)> + Sync,
) {
    let listed = Command::new(program).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let listed: BTreeSet<&str> = listed.lines().map(|line| line.split_once('\t').unwrap().0).collect();
    let known: BTreeSet<&str> = rules.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(known, listed);

    let left = Mutex::new(rules.iter());
    let missed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some((rule, cases)) = left.lock().unwrap().next() else { break };
            let failed = found(rule, cases);
            let is_found = |case: &&&str| failed.contains(&((**case).to_owned(), "failed".to_owned()));
            if cases.is_empty() || cases.iter().filter(is_found).count() < cases.len() {
                missed.lock().unwrap().push(format!("{rule}: expected {cases:?}, failed: {failed:?}"));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Returns the arguments that choose `cases`.
fn only<'a>(cases: &[&'a str]) -> Vec<&'a str> {
    cases.iter().flat_map(|case| ["--only", case]).collect()
}
