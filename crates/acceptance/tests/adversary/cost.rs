//! The costs of one verification, in system calls and in bytes.

use crate::DRIVER;
use crate::harness::{PEER, PROBER, Probed, TOKIO, is_remembered, place, prober};
use running_process_acceptance::{Driver, TestEndpoint, installed, soon};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Maximum number of system calls of one verification whose image is remembered.
const MAX_CALLS: usize = 53;
/// The maximum by credentials, which are read twice and whose numbers are looked up.
const MAX_CALLS_WITH_CREDENTIALS: usize = 75;
/// Additional system calls on tokio: the runtime registers the connection, waits, at times in vain, and removes it.
const EXTRA_ON_TOKIO: usize = if matches!(DRIVER, Driver::Tokio) { 8 } else { 0 };
/// Lines of strace that do not count: signals, the second half of an interrupted line, calls of the allocator, and a check
/// that the standard library makes in debug builds only.
const IGNORED_LINES: [&str; 7] = ["---", "<... ", "brk(", "mmap(", "munmap(", "mremap(", "fcntl("];

/// Returns the system calls of one verification, in order.
fn calls(place: &TestEndpoint, words: &[&str]) -> Option<Vec<String>> {
    let log = place.path("strace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-s", "64", "-o"])
        .arg(&log)
        .arg(PROBER)
        .arg(&place.identity_file)
        .args(words)
        .arg(TOKIO);
    command.env("XDG_CACHE_HOME", place.path("cache")).stdin(Stdio::null());
    let output = command.output().unwrap();
    if !output.status.success() {
        eprintln!("skipped: {command:?} gives {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let log = std::fs::read_to_string(log).unwrap();
    let calls = log.lines().map(|line| line.split_once(' ').map_or(line, |(_, call)| call.trim()).to_owned());
    let during = calls.skip_while(|call| !call.contains("<begin>")).skip(1);
    let during = during.take_while(|call| !call.contains("<end>"));
    Some(during.filter(|call| !IGNORED_LINES.iter().any(|start| call.starts_with(start))).collect())
}

#[test]
fn the_system_calls_of_one_verification_are_bounded() {
    if !installed("strace", &["-V"]) {
        return;
    }
    let place = place();
    if !is_remembered(&place) {
        return;
    }
    let _daemon = place.start("genuine");
    for (words, most) in [
        (["marks=1", "credentials=0"], MAX_CALLS),
        (["marks=1", "credentials=1"], MAX_CALLS_WITH_CREDENTIALS),
    ] {
        let deadline = soon();
        let calls = loop {
            let Some(calls) = calls(&place, &words) else { return };
            // A new image is read until it is old enough to be remembered.
            if !calls.iter().any(|call| call.starts_with("pread64")) {
                break calls;
            }
            assert!(Instant::now() < deadline, "the image is read each time");
        };
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &calls {
            *kinds.entry(call.split('(').next().unwrap()).or_default() += 1;
        }
        println!("{} calls with {words:?}: {kinds:?}\n{}", calls.len(), calls.join("\n"));
        assert!(calls.len() <= most + EXTRA_ON_TOKIO, "{} calls:\n{}", calls.len(), calls.join("\n"));
        let at = |what: &str| {
            let found = calls.iter().position(|call| call.contains(what));
            found.unwrap_or_else(|| panic!("no {what} in:\n{}", calls.join("\n")))
        };
        // The daemon accepts while its start time is read, and answers while its image is inspected.
        let order = ["connect(", "/stat\"", "sendto(", "/exe\"", "digests\"", "recvmsg("].map(at);
        assert!(order.is_sorted(), "{order:?} of:\n{}", calls.join("\n"));
        for forbidden in ["fork", "vfork", "clone", "clone3", "execve", "kill", "ptrace"] {
            assert!(!kinds.contains_key(forbidden), "{forbidden}");
        }
    }
}

/// Returns the number of bytes that a verification reads once the image is remembered. Everything that was written
/// before it may then be remembered, too.
pub(crate) fn warm_bytes(place: &TestEndpoint) -> u64 {
    let deadline = soon();
    loop {
        let mut command = prober(place, &["deadline=20000"]);
        command.env("XDG_CACHE_HOME", place.path("cache"));
        let probed = Probed::by(&mut command);
        assert!(probed.outcome(1).starts_with("served"), "{:?}", probed.lines);
        let [bytes] = probed.numbers("bytes ")[..] else { panic!() };
        // A new file is not remembered yet.
        if bytes < 1 << 20 {
            return bytes;
        }
        assert!(Instant::now() < deadline, "{bytes} bytes are read each time");
    }
}

#[test]
fn a_warm_verification_reads_as_much_of_a_large_daemon_as_of_a_small_one() {
    let places = [0_u64, 100 << 20].map(|size| TestEndpoint::with_large_copy(PEER, size));
    if !places.iter().all(is_remembered) {
        return;
    }
    let bytes = places.map(|place| {
        let _daemon = place.start("genuine");
        warm_bytes(&place)
    });
    println!("bytes read: {bytes:?}");
    // Paths, pids and times are numbers of different lengths.
    assert!(bytes[0].abs_diff(bytes[1]) < 64, "{bytes:?}");
}
