//! The number of system calls of a request and its response, on either side.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process_acceptance::{installed, watched};
use std::collections::BTreeMap;
use std::process::Command;

const FEW: u64 = 500;
const MANY: u64 = 5 * FEW;
/// Most hundredths of a call in a round that do not count. A server whose thread loses its processor for some milliseconds
/// starts another thread, or waits for the connection with the others for a while.
const ONCE_IN_A_WHILE: u64 = 4;
/// Most runs of the blocking client and server, of which one is as it should be: other programs may take their processor in the rest.
const RUNS: usize = 5;

/// Counts of each call by the client's thread and by the server's.
#[derive(Debug, Default)]
struct Calls {
    client: BTreeMap<String, u64>,
    server: BTreeMap<String, u64>,
}

impl Calls {
    /// Counts the calls in `count` rounds, from the start of the process to its end; returns `None` if nothing can be
    /// traced here.
    fn of(driver: &str, count: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("strace");
        let mut command = Command::new("strace");
        command.args(["-f", "-o"]).arg(&log).args([env!("CARGO_BIN_EXE_rounds"), driver]);
        command.arg(directory.path().join("socket")).arg(count.to_string());
        let output = watched(move || command.output().unwrap());
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            assert!(said.contains("ptrace"), "{said}");
            eprintln!("skipped: {said}");
            return None;
        }
        Some(Self::in_log(&std::fs::read_to_string(log).unwrap()))
    }

    /// Parses a log, whose lines are `THREAD CALL(` or the end of a call that another line has begun.
    fn in_log(log: &str) -> Self {
        let mut calls = Self::default();
        let begun = log.lines().filter_map(|line| {
            let (thread, name) = line.split_once('(')?.0.split_once(' ')?;
            let name = name.trim_start();
            name.starts_with(|first: char| first.is_ascii_lowercase()).then_some((thread, name))
        });
        let mut first = None;
        for (thread, name) in begun {
            let client = *first.get_or_insert(thread);
            let side = if thread == client { &mut calls.client } else { &mut calls.server };
            *side.entry(kind(name).to_owned()).or_default() += 1;
        }
        calls
    }
}

/// Returns the purpose of a call. A call that no round needs is a kind of its own.
fn kind(name: &str) -> &str {
    match name {
        "recvfrom" | "recvmsg" | "read" => "read",
        "sendto" | "sendmsg" | "write" | "writev" => "write",
        "epoll_wait" | "epoll_pwait" => "wait",
        name => name,
    }
}

/// Returns the average number of each call in a round, in hundredths, without those that are made once in a while.
fn of_each_round(few: &BTreeMap<String, u64>, many: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let each = many.iter().map(|(name, many)| {
        let more = many.saturating_sub(few.get(name).copied().unwrap_or_default());
        (name.clone(), (more * 100 + (MANY - FEW) / 2) / (MANY - FEW))
    });
    each.filter(|(_, hundredths)| *hundredths > ONCE_IN_A_WHILE).collect()
}

/// Returns the calls of client and server in each round.
fn rounds(driver: &str) -> Option<[BTreeMap<String, u64>; 2]> {
    if !installed("strace", &["-V"]) {
        return None;
    }
    let (few, many) = (Calls::of(driver, FEW)?, Calls::of(driver, MANY)?);
    let each = [of_each_round(&few.client, &many.client), of_each_round(&few.server, &many.server)];
    println!("{driver}, hundredths of a call for each request: client {:?}, server {:?}", each[0], each[1]);
    Some(each)
}

fn one_read_and_one_write() -> BTreeMap<String, u64> {
    BTreeMap::from([("read".to_owned(), 100), ("write".to_owned(), 100)])
}

#[test]
fn a_blocking_request_takes_one_write_and_one_read_on_either_side() {
    let expected = [one_read_and_one_write(), one_read_and_one_write()];
    for left in (0..RUNS).rev() {
        let Some(each) = rounds("blocking") else { return };
        if left == 0 || each == expected {
            return assert_eq!(each, expected);
        }
    }
}

/// The runtime waits for the peer's writes. When a client's task has woken its caller, it also polls the sockets
/// without waiting.
#[test]
fn a_request_on_tokio_takes_one_write_and_one_read_on_either_side_and_three_waits() {
    let Some(each) = rounds("tokio") else { return };
    for (mut calls, most) in each.into_iter().zip([2, 1]) {
        // Two waits become one if this side is late, in one of the runs more often than in the other.
        let waits = calls.remove("wait").unwrap();
        assert!(waits < most * 100 + 50, "{waits} hundredths of a wait");
        assert_eq!(calls, one_read_and_one_write());
    }
}
