//! The executable: replaced, removed, exchanged, and far too large.

use crate::cost::warm_bytes;
use crate::harness::{
    PEER, Probed, assert_genuine, both, every_policy, is_impossible, is_remembered, place, prober, refused,
    verify,
};
use running_process::broker::backend_lifecycle::probe::{PolicyRule, ProbeError};
use running_process::broker::backend_lifecycle::verify::{ImageState, Policy};
use running_process_acceptance::{Peer, Place, copy_program};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
/// More than anything here needs, and far less than the executable: in KiB.
const MEMORY: u64 = 64 * 1024;

/// Puts another file at the path of the executable.
type Replace = fn(&Place);

#[test]
fn an_executable_that_is_replaced_while_the_daemon_runs_is_judged_by_what_runs() {
    let replacements: [Replace; 3] = [
        |place| {
            fs::write(place.path("new"), "another program").unwrap();
            fs::rename(place.path("new"), &place.program).unwrap();
        },
        |place| {
            // The same content does not make it the same file.
            copy_program(&place.program, &place.path("new"), 0);
            fs::rename(place.path("new"), &place.program).unwrap();
        },
        |place| fs::remove_file(&place.program).unwrap(),
    ];
    for replace in replacements {
        let place = Place::with_copy(PEER);
        let _daemon = place.start("genuine");
        let identity = place.identity();
        for policy in both(&Policy::default()) {
            assert_eq!(verify(&identity, &policy).unwrap().proof().image, ImageState::AsRecorded);
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
fn an_executable_of_three_gibibytes_ends_at_the_deadline_or_is_digested_in_little_memory() {
    let place = Place::with_large_copy(PEER, 3 * GIB);
    if !is_remembered(&place) {
        return;
    }
    let younger = Place::with_copy(PEER);
    let _small = younger.start("genuine");
    warm_bytes(&younger);
    let remembered = place.path("cache");
    let mut command = place.command("genuine");
    let mut daemon = Peer::spawn(command.env("XDG_CACHE_HOME", &remembered), Stdio::piped());
    // It digests itself, as any caller would: that takes its time, and no memory.
    daemon.wait_patiently(6);
    assert_eq!(daemon.line().as_deref(), Some("ready"));
    let peak = peak_memory(daemon.pid());
    assert!(peak < MEMORY, "{peak} KiB");

    let began = Instant::now();
    let mut command = prober(&place, &["deadline=150"]);
    let hasty = Probed::by(command.env("XDG_CACHE_HOME", place.path("nothing")));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(hasty.outcome(1), "refused TimedOut");
    // Where its digest is remembered, the same deadline is enough, almost.
    let mut command = prober(&place, &["deadline=2000"]);
    let knowing = Probed::by(command.env("XDG_CACHE_HOME", &remembered));
    assert_eq!(knowing.outcome(1), "served Held Own AsRecorded origin=true");
    for probed in [hasty, knowing] {
        let [peak] = probed.numbers("peak KiB ")[..] else { panic!() };
        assert!(peak < MEMORY, "{peak} KiB");
    }
}

/// The most memory that the process ever used, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_image_of_a_running_daemon_cannot_be_written_or_truncated() {
    let place = Place::with_copy(PEER);
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
