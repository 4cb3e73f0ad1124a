//! A full disk, and a file system that cannot be written.

use super::mounts::SmallDisk;
use crate::harness::{Bench, PROBE, await_that, is_root, result, served_by};
use running_process_acceptance::{run, sibling};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Pages of the file system: more than the files of a service need.
const PAGES: usize = 64;
/// Pages that are left for a start. The last number is enough for all of its files.
const ROOM: usize = 8;
const FULL: &str = "No space left on device";
const READ_ONLY: &str = "Read-only file system";

/// Returns a service whose directory `name` is on a small file system.
fn on_small_disk(name: &str) -> Option<(Bench, SmallDisk)> {
    if !is_root() {
        return None;
    }
    let bench = Bench::new();
    let disk = SmallDisk::mount(&bench.path(name), PAGES)?;
    Some((bench, disk))
}

fn call(bench: &Bench, disk: &SmallDisk, verb: &str) -> Value {
    result(&mut disk.with(&bench.client(verb, &["timeout=8000"], "serve")))
}

/// Checks that the service serves and stops.
fn assert_heals(bench: &Bench, disk: &SmallDisk) {
    await_that("end of the pause", || call(bench, disk, "ensure")["error"] != "BackingOff");
    let daemon = served_by(&call(bench, disk, "ensure"));
    let stopped = call(bench, disk, "stop");
    assert_eq!(stopped["stopped"], "Ended", "{stopped:#}");
    assert_eq!(stopped["pid"].as_u64(), Some(daemon.into()), "{stopped:#}");
    assert!(bench.processes().iter().all(|pid| !bench.daemons().contains(pid)));
    bench.assert_never_two();
}

/// Checks that a call failed and told the cause.
#[track_caller]
fn assert_told(result: &Value, cause: &str) {
    assert!(!result["error"].is_null(), "{result:#}");
    let texts = [&result["text"], &result["failure"]["log"]].map(|text| text.as_str().unwrap_or_default());
    assert!(texts.iter().any(|text| text.contains(cause)), "{result:#}");
}

#[test]
fn a_start_on_a_full_disk_tells_it_and_the_next_one_serves_when_there_is_room() {
    let (mut failed, mut told) = (0, 0);
    for room in 0..=ROOM {
        let Some((bench, disk)) = on_small_disk("root") else { return };
        disk.fill(room);
        let result = call(&bench, &disk, "ensure");
        if result["error"].is_null() {
            // A daemon that serves can be used and stopped without room.
            disk.fill(0);
            let daemon = served_by(&call(&bench, &disk, "ensure"));
            let stopped = call(&bench, &disk, "stop");
            assert_eq!(stopped["pid"].as_u64(), Some(daemon.into()), "{stopped:#}");
        } else {
            failed += 1;
            // The daemon has no room in its log to tell why it ended.
            let is_untold = result["error"] == "StartFailed" && result["failure"]["log"] == "";
            if !is_untold {
                assert_told(&result, FULL);
                told += 1;
            }
        }
        disk.free();
        assert_heals(&bench, &disk);
    }
    println!("{failed} of {} starts failed, {told} told the cause", ROOM + 1);
    assert!((1..=ROOM).contains(&failed) && told > 0, "{failed} failed, {told} told");
}

#[test]
fn a_disk_that_is_full_of_remembered_digests_costs_only_time() {
    let Some((bench, disk)) = on_small_disk("cache") else { return };
    disk.fill(0);
    assert_heals(&bench, &disk);
}

#[test]
fn a_start_on_a_file_system_that_cannot_be_written_tells_it_and_the_next_one_serves_when_it_can() {
    // Before and after the first start, of which files are left.
    for is_used in [false, true] {
        let Some((bench, disk)) = on_small_disk("root") else { return };
        if is_used {
            assert_heals(&bench, &disk);
        }
        disk.remount("ro");
        assert_told(&call(&bench, &disk, "ensure"), READ_ONLY);
        let found = call(&bench, &disk, "find");
        assert!(found["error"].is_null() || found["text"].as_str().unwrap().contains(READ_ONLY), "{found:#}");
        disk.remount("rw");
        assert_heals(&bench, &disk);
    }
    // Digests are remembered by the daemon and by its clients.
    let Some((bench, disk)) = on_small_disk("cache") else { return };
    disk.remount("ro");
    assert_heals(&bench, &disk);
}

/// Runs the command's `start`, and returns its error as text, after one line of JSON.
fn start_by_command(bench: &Bench, disk: &SmallDisk, file: &Path) -> (Value, String) {
    let [json, text] = [true, false].map(|json| {
        let mut command = Command::new(sibling(PROBE, "running-process"));
        command.arg("start").args(json.then_some("--json")).arg("--file").arg(file);
        command.env("RUNNING_PROCESS_DIR", bench.root()).env("XDG_CACHE_HOME", bench.path("cache"));
        let output = run(&mut disk.with(&command), b"");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    });
    (serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}")), text)
}

#[test]
fn the_command_says_what_to_do_about_a_full_disk_and_one_that_cannot_be_written() {
    let Some((bench, disk)) = on_small_disk("root") else { return };
    let file = bench.path("svc.toml");
    let words: Vec<_> = [PROBE.to_owned()].into_iter().chain(bench.daemon_arguments("serve")).collect();
    fs::write(&file, format!("name = \"svc\"\ncommand = {}\n", serde_json::to_string(&words).unwrap()))
        .unwrap();
    disk.fill(0);
    let (json, text) = start_by_command(&bench, &disk, &file);
    assert!(text.contains(FULL) && text.contains("free some space"), "{text}");
    assert!(json.to_string().contains("free some space"), "{json}");
    disk.free();
    disk.remount("ro");
    let (json, text) = start_by_command(&bench, &disk, &file);
    assert!(text.contains(READ_ONLY) && text.contains("can be written"), "{text}");
    assert!(json.to_string().contains("can be written"), "{json}");
    disk.remount("rw");
    assert_heals(&bench, &disk);
}
