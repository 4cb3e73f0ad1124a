//! Daemons that end: before, during and long before the probe.

use crate::harness::{
    PEER, assert_genuine, both, every_policy, is_impossible, place, prober, refused, verify,
};
use running_process::broker::backend_lifecycle::probe::{Absence, ProbeError};
use running_process::broker::backend_lifecycle::verify::{ImageState, Policy};
use running_process_acceptance::Peer;
use rustix::process::Signal;
use std::process::Stdio;

#[test]
fn a_zombie_is_told_from_an_unused_pid() {
    let place = place();
    let mut daemon = place.start("genuine");
    let identity = place.identity();
    daemon.kill();
    for how in [Absence::Exited, Absence::NoSuchProcess] {
        for policy in every_policy() {
            let error = refused(&identity, &policy);
            assert!(matches!(error, ProbeError::Gone { how: found, .. } if found == how), "{error:?}");
        }
        if how == Absence::Exited {
            daemon.reap();
        }
    }
}

#[test]
fn a_daemon_that_is_killed_by_the_challenge_is_gone_during_the_probe() {
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        let place = place();
        let daemon = place.start("die");
        let error = refused(&place.identity(), policy);
        let ProbeError::Gone { pid, how: Absence::DuringProbe } = error else { panic!("{error:?}") };
        assert_eq!(pid, daemon.pid());
    }
}

#[test]
fn the_last_words_of_a_daemon_that_has_ended_are_not_a_proof() {
    for reaped in [false, true] {
        for credentials in ["credentials=0", "credentials=1"] {
            for policy in ["default", "lenient"] {
                let place = place();
                let mut daemon = place.start("answer-and-die");
                let mut command = prober(&place, &[policy, credentials]);
                let mut prober = Peer::spawn(&mut command, Stdio::null());
                // The daemon stops it, answers and ends.
                prober.wait_stopped();
                daemon.wait_zombie();
                if reaped {
                    daemon.reap();
                }
                prober.signal(Signal::CONT);
                let lines = prober.lines();
                let gone = format!("1 times refused Gone {{ pid: {}, how: DuringProbe }}", daemon.pid());
                assert_eq!(lines.first(), Some(&gone), "{policy} {credentials}, reaped: {reaped}");
            }
        }
    }
}

#[test]
fn the_identity_file_of_another_boot_is_told_as_such() {
    let place = place();
    let _daemon = place.start("genuine");
    let mut identity = place.identity();
    let current = std::mem::replace(&mut identity.boot_id, "another".to_owned());
    for policy in every_policy() {
        match refused(&identity, &policy) {
            ProbeError::OtherBoot { recorded, current: told } => {
                assert_eq!((&recorded[..], &told), ("another", &current));
            }
            error => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_start_time_that_is_not_the_kernels_is_told_as_such() {
    let place = place();
    let daemon = place.start("genuine");
    for offset in [-1_i64, 1] {
        let mut identity = place.identity();
        let origin = identity.origin.as_mut().unwrap();
        let true_one = origin.start_time;
        origin.start_time = true_one.checked_add_signed(offset).unwrap();
        let expected = origin.start_time;
        for policy in every_policy() {
            match refused(&identity, &policy) {
                ProbeError::ReusedPid { pid, recorded, found } => {
                    assert_eq!((pid, recorded, found), (daemon.pid(), expected, true_one));
                }
                error => panic!("{error:?}"),
            }
        }
    }
    // A run within the same tick of the clock has another instance id.
    let mut identity = place.identity();
    identity.origin.as_mut().unwrap().instance_id[0] ^= 1;
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        let error = refused(&identity, policy);
        assert!(matches!(error, ProbeError::Mismatch(_)), "{error:?}");
    }
}

#[test]
fn a_daemon_whose_first_thread_has_ended_lives() {
    let place = place();
    let mut daemon = place.start("without-first-thread");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    assert!(stat.contains(") Z "), "{stat}");
    let identity = place.identity();
    assert_eq!(identity.exe_path, std::fs::canonicalize(PEER).unwrap());
    for policy in every_policy().into_iter().filter(|policy| !is_impossible(policy)) {
        let handle = verify(&identity, &policy).unwrap();
        assert_eq!(handle.proof().image, ImageState::Unchanged);
        assert!(handle.is_alive());
        assert_genuine(&identity, &policy);
    }
    // The error names the executable of such an impostor.
    let mut impostor = identity.clone();
    impostor.pid = std::process::id();
    impostor.origin = None;
    match refused(&impostor, &Policy::default()) {
        ProbeError::Impostor { pid, image, .. } => {
            assert_eq!((pid, image), (daemon.pid(), Some(identity.exe_path.clone())));
        }
        error => panic!("{error:?}"),
    }
    daemon.kill();
    assert!(matches!(refused(&identity, &Policy::default()), ProbeError::Gone { .. }));
}
