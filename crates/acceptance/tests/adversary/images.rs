//! The executable: replaced, removed, exchanged, and far too large.

use crate::DRIVER;
use crate::cost::warm_bytes;
use crate::harness::{
    PEER, Probed, assert_genuine, both, every_policy, is_impossible, is_remembered, is_root, place, prober,
    refused, verify,
};
use running_process::broker::backend_handle::BackendHandleError;
use running_process::broker::backend_lifecycle::identity::ExeDigests;
use running_process::broker::backend_lifecycle::probe::{PolicyRule, ProbeError};
use running_process::broker::backend_lifecycle::verify::{ImageState, Policy};
use running_process_acceptance::{Peer, TestEndpoint, copy_program, watched};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
/// Memory limit in KiB: more than anything here needs, and far less than the executable.
const MEMORY: u64 = 64 * 1024;

/// A function that puts another file at the path of the executable.
type Replace = fn(&TestEndpoint);

#[test]
fn an_executable_that_is_replaced_while_the_daemon_runs_is_judged_by_what_runs() {
    let replacements: [Replace; 3] = [
        |place| {
            fs::write(place.path("new"), "another program").unwrap();
            fs::rename(place.path("new"), &place.program).unwrap();
        },
        |place| {
            // A file with the same content is another file.
            copy_program(&place.program, &place.path("new"), 0);
            fs::rename(place.path("new"), &place.program).unwrap();
        },
        |place| fs::remove_file(&place.program).unwrap(),
    ];
    for replace in replacements {
        let place = TestEndpoint::with_copy(PEER);
        let _daemon = place.start("genuine");
        let identity = place.identity();
        for policy in both(&Policy::default()) {
            assert_eq!(verify(&identity, &policy).unwrap().proof().image, ImageState::Unchanged);
        }
        replace(&place);
        for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
            assert_eq!(verify(&identity, policy).unwrap().proof().image, ImageState::ReplacedOnDisk);
            assert_genuine(&identity, policy);
        }
        let error = refused(&identity, &Policy::strict());
        assert!(matches!(error, ProbeError::Policy(PolicyRule::ReplacedOnDisk)), "{error:?}");
    }
}

#[test]
fn a_process_that_runs_another_image_by_now_is_refused_although_it_is_the_same_process() {
    let place = place();
    let other = place.path("other");
    copy_program(PEER.as_ref(), &other, fs::metadata(PEER).unwrap().len() + 1);
    let daemon = Peer::start(place.command("exec").arg(&other));
    let identity = place.identity();
    assert_eq!(identity.pid, daemon.pid());
    for policy in every_policy().into_iter().filter(|policy| !is_impossible(policy)) {
        match refused(&identity, &policy) {
            ProbeError::WrongImage { path, check } => {
                assert_eq!(path, other);
                assert!(!check.agrees);
            }
            ProbeError::Policy(PolicyRule::ReplacedOnDisk) => assert!(!policy.replaced_on_disk),
            error => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_process_that_runs_another_image_once_it_was_looked_at_is_refused() {
    let place = place();
    let other = place.path("other");
    copy_program(PEER.as_ref(), &other, fs::metadata(PEER).unwrap().len() + 1);
    for words in [
        ["default", "credentials=0"],
        ["default", "credentials=1"],
        ["strict", "credentials=0"],
        ["lenient", "credentials=0"],
        ["lenient", "credentials=1"],
    ] {
        let _ended = fs::remove_file(&place.socket);
        let _daemon = Peer::start(place.command("exec-meanwhile").arg(&other));
        let probed = Probed::by(&mut prober(&place, &words));
        let outcome = probed.outcome(1);
        assert!(outcome.starts_with("refused OtherImage"), "{outcome} for {words:?}");
    }
}

#[test]
fn a_handle_does_not_outlast_the_image_that_it_proved() {
    let place = place();
    let other = place.path("other");
    copy_program(PEER.as_ref(), &other, fs::metadata(PEER).unwrap().len() + 1);
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        let _ended = fs::remove_file(&place.socket);
        let mut daemon = Peer::start(place.command("exec-later").arg(&other));
        let handle = verify(&place.identity(), policy).unwrap();
        assert!(handle.is_alive());
        daemon.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        assert_eq!(daemon.line().as_deref(), Some("ready"));
        assert!(!handle.is_alive());
        let handle = Arc::new(handle);
        let connecting = Arc::clone(&handle);
        match watched(move || DRIVER.connect(&connecting)) {
            Err(BackendHandleError::Probe(ProbeError::OtherImage { pid })) => assert_eq!(pid, daemon.pid()),
            other => panic!("{other:?} by {policy:?}"),
        }
    }
}

#[test]
fn a_daemon_from_memory_is_proven_and_not_called_replaced() {
    let place = place();
    let _daemon = place.start("from-memory");
    let identity = place.identity();
    assert!(identity.exe_path.starts_with("/memfd:daemon"), "{identity:?}");
    for policy in every_policy().iter().filter(|policy| !is_impossible(policy)) {
        assert_eq!(verify(&identity, policy).unwrap().proof().image, ImageState::NotComparable);
        assert_genuine(&identity, policy);
    }
    let mut other = identity.clone();
    other.exe_digests = ExeDigests::Blake3([9; 32]);
    // The digest in the answer is that of the image.
    assert!(matches!(refused(&other, &Policy::lenient()), ProbeError::Mismatch(_)));
}

/// Returns a command that runs `script` with mounts of its own, if this system permits that.
fn with_own_mounts(script: &str) -> Option<Command> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    is_root().then_some(unshare)
}

#[test]
fn an_executable_in_another_mount_namespace_is_judged_where_its_daemon_sees_it() {
    let place = place();
    let private = place.path("private");
    fs::create_dir(&private).unwrap();
    let program = private.join("daemon");
    let script = r#"mount -t tmpfs none "$1" && cp "$2" "$3" && exec "$3" genuine "$4" "$5""#;
    let Some(mut command) = with_own_mounts(script) else { return };
    command.args([&private, Path::new(PEER), &program, &place.socket, &place.identity_file]);
    let daemon = Peer::start(&mut command);
    let identity = place.identity();
    assert_eq!((identity.pid, &identity.exe_path), (daemon.pid(), &program));
    let states = |identity| {
        let policies = every_policy().into_iter().filter(|policy| !is_impossible(policy));
        policies
            .map(|policy| verify(identity, &policy).map(|handle| handle.proof().image))
            .collect::<Vec<_>>()
    };
    // In the caller's namespace the path is absent, or is another file.
    assert!(!program.exists());
    assert!(states(&identity).into_iter().all(|state| matches!(state, Ok(ImageState::Unchanged))));
    fs::write(&program, "another program").unwrap();
    assert!(states(&identity).into_iter().all(|state| matches!(state, Ok(ImageState::Unchanged))));
    // A file that replaces the executable in the daemon's namespace is an upgrade.
    let root = Path::new("/proc").join(daemon.pid().to_string()).join("root");
    let seen_by_daemon = |name: &Path| root.join(name.strip_prefix("/").unwrap());
    fs::write(seen_by_daemon(&private.join("new")), "an upgrade").unwrap();
    fs::rename(seen_by_daemon(&private.join("new")), seen_by_daemon(&program)).unwrap();
    let upgraded = states(&identity);
    assert!(upgraded.iter().any(|state| matches!(state, Ok(ImageState::ReplacedOnDisk))));
    for state in upgraded {
        let told = matches!(
            state,
            Ok(ImageState::ReplacedOnDisk) | Err(ProbeError::Policy(PolicyRule::ReplacedOnDisk))
        );
        assert!(told, "{state:?}");
    }
}

#[test]
fn an_executable_of_three_gibibytes_ends_at_the_deadline_or_is_digested_in_little_memory() {
    let place = TestEndpoint::with_large_copy(PEER, 3 * GIB);
    if !is_remembered(&place) {
        return;
    }
    let younger = TestEndpoint::with_copy(PEER);
    let _small = younger.start("genuine");
    warm_bytes(&younger);
    let remembered = place.path("cache");
    let mut command = place.command("genuine");
    let mut daemon = Peer::spawn(command.env("XDG_CACHE_HOME", &remembered), Stdio::piped());
    // It digests itself, as any caller would. That takes time, and no memory.
    daemon.wait_longer(6);
    assert_eq!(daemon.line().as_deref(), Some("ready"));
    let peak = peak_memory(daemon.pid());
    assert!(peak < MEMORY, "{peak} KiB");

    let began = Instant::now();
    let mut command = prober(&place, &["deadline=150"]);
    let hasty = Probed::by(command.env("XDG_CACHE_HOME", place.path("nothing")));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(hasty.outcome(1), "refused TimedOut");
    // If its digest is remembered, almost the same deadline is enough.
    let mut command = prober(&place, &["deadline=2000"]);
    let knowing = Probed::by(command.env("XDG_CACHE_HOME", &remembered));
    assert_eq!(knowing.outcome(1), "served Held Own Unchanged origin=true");
    for probed in [hasty, knowing] {
        let [peak] = probed.numbers("peak KiB ")[..] else { panic!() };
        assert!(peak < MEMORY, "{peak} KiB");
    }
}

/// Returns the peak memory of the process, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_image_of_a_running_daemon_cannot_be_written_or_truncated() {
    let place = TestEndpoint::with_copy(PEER);
    let _daemon = place.start("genuine");
    for opened in [
        OpenOptions::new().write(true).open(&place.program),
        OpenOptions::new().write(true).truncate(true).open(&place.program),
        File::create(&place.program),
    ] {
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::ExecutableFileBusy);
    }
    assert_genuine(&place.identity(), &Policy::strict());
}
