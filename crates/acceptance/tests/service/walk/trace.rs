//! The system calls of a process, as strace records them and interferes with them.

use crate::harness::PROBE;
use running_process_acceptance::installed;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The path of strace. A daemon has a `PATH` of its own.
pub(super) const STRACE: &str = "/usr/bin/strace";

/// The number of faults of a walk that is not complete.
const FEW: usize = 16;

/// One system call of a process: the first time that a thread of it makes the call of this name so many times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) name: String,
    /// Counted from 1.
    pub(super) nth: usize,
    /// The thread that makes it; 0 if only one is traced.
    pub(super) thread: u32,
    /// The line of strace.
    pub(super) line: String,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.name, self.nth, self.line)
    }
}

impl Call {
    /// Returns the words for strace that do `what` when a traced thread makes this call, and record that in the file `log`.
    pub(super) fn inject(&self, what: &str, log: &Path) -> Vec<String> {
        let Self { name, nth, .. } = self;
        words(&[
            "-o",
            log.to_str().unwrap(),
            "-e",
            &format!("trace={name}"),
            // strace does not end if it is to print a message that was not received.
            "-e",
            &format!("raw={name}"),
            "-e",
            &format!("inject={name}:{what}:when={nth}"),
        ])
    }
}

/// Returns the words for strace that record all calls in the file `log`.
pub(super) fn record(log: &Path) -> Vec<String> {
    words(&["-s", "60", "-o", log.to_str().unwrap()])
}

/// Returns the words for strace that record all calls in the file `log`, each with the kind of its descriptors.
pub(super) fn record_kinds(log: &Path) -> Vec<String> {
    [record(log), words(&["-y"])].concat()
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Returns the calls in the lines of a log, in order. `is_of` selects threads by their ids, if the log has several.
pub(super) fn calls<'a>(log: impl IntoIterator<Item = &'a str>, is_of: impl Fn(u32) -> bool) -> Vec<Call> {
    let mut counts = HashMap::<(u32, &str), usize>::new();
    let (mut found, mut calls) = (HashSet::new(), Vec::new());
    for line in log {
        let (thread, line) = thread_of(line);
        let Some((name, _)) = line.split_once('(') else { continue };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        // strace counts calls from after the first program is executed.
        if !is_name || !is_of(thread) || (name == "execve" && calls.is_empty()) {
            continue;
        }
        let nth = counts.entry((thread, name)).or_default();
        *nth += 1;
        if found.insert((name, *nth)) {
            calls.push(Call { name: name.to_owned(), nth: *nth, thread, line: line.to_owned() });
        }
    }
    calls
}

/// Returns the id of the thread, 0 if the log has only one, and the rest of the line.
pub(super) fn thread_of(line: &str) -> (u32, &str) {
    let split =
        line.split_once(' ').and_then(|(thread, rest)| Some((thread.parse().ok()?, rest.trim_start())));
    split.unwrap_or((0, line))
}

/// Returns whether the walk goes by every call: the environment asks for that with `SERVICE_WALK=all`.
pub(super) fn is_complete() -> bool {
    std::env::var_os("SERVICE_WALK").is_some_and(|value| value == "all")
}

/// Returns every tenth call, or all of them if the walk is complete. Those before the first one about `directory` are the
/// loader's and the program's own: of them fewer.
pub(super) fn sample(calls: &[Call], directory: &Path) -> Vec<Call> {
    let directory = directory.to_str().unwrap();
    let begin = calls.iter().position(|call| call.line.contains(directory)).unwrap_or(0);
    let (before, step) = if is_complete() { (10, 1) } else { (50, 10) };
    let before = calls[..begin].iter().step_by(before);
    before.chain(calls[begin..].iter().step_by(step)).cloned().collect()
}

/// Returns some of the cases, evenly spread, or all of them if the walk is complete.
pub(super) fn few<T>(cases: Vec<T>) -> Vec<T> {
    let step = if is_complete() { 1 } else { cases.len().div_ceil(FEW).max(1) };
    cases.into_iter().step_by(step).collect()
}

/// Returns whether strace can interfere with calls here; otherwise prints that a test is skipped.
pub(super) fn can_interfere() -> bool {
    if !installed(STRACE, &["-V"]) {
        return false;
    }
    let mut command = Command::new(STRACE);
    command.args([
        "-D",
        "-o",
        "/dev/null",
        "-e",
        "inject=read:signal=KILL:when=1",
        PROBE,
        "find",
        "name=none",
    ]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let can = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    if !can {
        eprintln!("skipped: {command:?} gives {output:?}");
    }
    can
}
