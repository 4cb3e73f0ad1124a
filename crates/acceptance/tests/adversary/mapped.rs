//! Executables that are changed through a shared mapping. Some file systems update no timestamp for that, others update it
//! late. Remembered digests of one image must not prove another one.

use crate::harness::{PEER, Probed, WRITER, is_root, prober};
use running_process::broker::backend_sdk::write_daemon_identity_file;
use running_process_acceptance::{Peer, TestEndpoint, watched};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// Time for which an image is proven again and again before it is changed: several times the age at which its digests
/// may be remembered.
const REMEMBERED: Duration = Duration::from_millis(300);

/// Returns a place with a program that still runs when its last byte is changed, and whose digests are not remembered yet.
fn place() -> TestEndpoint {
    TestEndpoint::with_large_copy(PEER, fs::metadata(PEER).unwrap().len() + 1)
}

/// Starts a process that maps the program of `place` and stores into it.
fn writer(place: &TestEndpoint) -> Peer {
    Peer::start(Command::new(WRITER).arg(&place.program))
}

fn change(writer: &mut Peer) {
    writer.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(writer.line().as_deref(), Some("changed"));
}

/// Maps the program anew and changes it.
fn rewrite(place: &TestEndpoint) {
    let mut writer = writer(place);
    change(&mut writer);
    writer.lines();
}

/// Starts the program in the role `mode`, with the remembered digests in `place`.
fn start(place: &TestEndpoint, mode: &str) -> Peer {
    Peer::start(place.command(mode).env("XDG_CACHE_HOME", place.path("cache")))
}

/// Returns the outcome of a prober in another process, with the remembered digests in `place`.
fn prove(place: &TestEndpoint) -> String {
    let mut command = prober(place, &["strict"]);
    let probed = Probed::by(command.env("XDG_CACHE_HOME", place.path("cache")));
    probed.outcome(1).to_owned()
}

const GENUINE: &str = "served Held Own Unchanged origin=true";

/// Proves the daemon of `place` again and again, until its program has been unchanged for longer than [`REMEMBERED`].
fn prove_until_old(place: &TestEndpoint) {
    loop {
        let found = fs::metadata(&place.program).unwrap();
        let (seconds, nanoseconds) = (found.ctime().cast_unsigned(), found.ctime_nsec().cast_unsigned());
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, u32::try_from(nanoseconds).unwrap());
        let old = changed.elapsed().unwrap() > REMEMBERED;
        assert_eq!(prove(place), GENUINE);
        if old {
            return;
        }
    }
}

/// Runs and proves a daemon, changes its program, and starts it again: neither daemon nor caller may use the old digests.
fn a_changed_program_is_told_by_its_content() {
    let place = place();
    // The page is dirty before anything is remembered. The file is unmapped, because it could not be run otherwise.
    writer(&place).lines();
    let mut daemon = start(&place, "genuine");
    prove_until_old(&place);
    let genuine = place.identity();
    daemon.lines();

    rewrite(&place);
    let mut daemon = start(&place, "genuine");
    let changed = place.identity();
    assert_ne!(changed.exe_digests, genuine.exe_digests, "a changed daemon publishes what it was");
    assert_eq!(prove(&place), GENUINE);
    daemon.lines();

    // A daemon that claims the old digests is refused because of its image.
    write_daemon_identity_file(&place.identity_file, &genuine).unwrap();
    let mut liar = start(&place, "other-digests");
    assert_eq!(place.identity().exe_digests, genuine.exe_digests);
    let outcome = prove(&place);
    assert!(outcome.starts_with("refused WrongImage"), "{outcome}");
    liar.lines();

    // The file is the genuine one again, and so is the daemon.
    rewrite(&place);
    let mut daemon = start(&place, "genuine");
    assert_eq!(place.identity().exe_digests, genuine.exe_digests);
    assert_eq!(prove(&place), GENUINE);
    daemon.lines();
}

#[test]
fn a_program_that_was_changed_through_a_mapping_is_told_by_its_content() {
    a_changed_program_is_told_by_its_content();
}

/// Runs the ignored test `name` of this file after `mount`, a shell command, has mounted a file system at `$1` for that
/// test only.
fn run_in_a_mount(mount: &str, name: &str) {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("mounted");
    fs::create_dir(&at).unwrap();
    let test = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let script =
        format!("{mount} || {{ echo cannot mount; exit 0; }}; export TMPDIR=\"$1\"; shift; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&at).arg(std::env::current_exe().unwrap());
    command.args(["--exact", &test, "--ignored", "--nocapture"]).stdin(Stdio::null());
    let output = watched(move || command.output());
    let Ok(output) = output else {
        eprintln!("skipped: there is no unshare: {output:?}");
        return;
    };
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if !said.contains("running 1 test") {
        eprintln!("skipped: {said}");
        return;
    }
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn on_tmpfs_a_program_that_was_changed_without_a_trace_is_told_by_its_content() {
    run_in_a_mount("mount -t tmpfs none \"$1\"", "inside_tmpfs");
}

#[test]
#[ignore = "started by the test before in a mount of its own"]
fn inside_tmpfs() {
    let place = place();
    let found = || {
        let found = fs::metadata(&place.program).unwrap();
        (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec(), found.ino(), found.len())
    };
    let before = found();
    rewrite(&place);
    assert_eq!(found(), before, "this is what makes it an attack");
    a_changed_program_is_told_by_its_content();
}

#[test]
fn on_an_overlay_a_program_that_changes_while_it_runs_is_told_by_its_content() {
    let mount = "mkdir \"$1.lower\" \"$1.upper\" \"$1.work\" && mount -t overlay none \
                 -o \"lowerdir=$1.lower,upperdir=$1.upper,workdir=$1.work\" \"$1\"";
    run_in_a_mount(mount, "inside_an_overlay");
}

#[test]
#[ignore = "started by the test before in a mount of its own"]
fn inside_an_overlay() {
    a_changed_program_is_told_by_its_content();
    let place = place();
    let mut writer = writer(&place);
    // An overlay runs a file that is mapped for writing.
    let mut daemon = start(&place, "genuine");
    prove_until_old(&place);
    change(&mut writer);
    let outcome = prove(&place);
    assert!(outcome.starts_with("refused WrongImage"), "{outcome}");
    change(&mut writer);
    assert_eq!(prove(&place), GENUINE);
    daemon.lines();
}

#[test]
fn a_program_that_is_mapped_for_writing_cannot_be_run() {
    let place = place();
    let mut writer = writer(&place);
    let failed = place.command("genuine").stdin(Stdio::null()).spawn();
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::ExecutableFileBusy);
    writer.lines();
    let mut daemon = start(&place, "genuine");
    assert_eq!(prove(&place), GENUINE);
    daemon.lines();
}
