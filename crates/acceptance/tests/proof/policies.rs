//! Policies, and the proofs that they accept.

use crate::DRIVER;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::identity::ExeDigests;
use running_process::broker::backend_lifecycle::probe::{PolicyRule, ProbeError};
use running_process::broker::backend_lifecycle::verify::{
    ImageCheck, ImageState, Listener, Policy, ProofLevel, StepKind, StepVerdict,
};
use running_process::broker::backend_sdk::Server;
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::{Daemon, soon, watched};

const PROGRAM: &str = env!("CARGO_BIN_EXE_length-prefixed-daemon");

fn refusal(expected: &DaemonProcess, policy: Policy) -> PolicyRule {
    match DRIVER.verify(expected, policy, soon()).expect_err("the policy refuses") {
        ProbeError::Policy(rule) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_proof_lists_every_step_with_its_evidence() {
    let daemon = Daemon::length_prefixed(PROGRAM);
    let identity = daemon.identity();
    let proof = DRIVER.prove(&identity, &Policy::strict()).unwrap();
    assert_eq!((proof.level, proof.listener), (ProofLevel::Held, Listener::Own));
    assert_eq!((proof.image, proof.with_origin), (ImageState::Unchanged, true));
    let steps: Vec<_> = proof.steps.iter().map(|step| (step.kind, step.verdict)).collect();
    assert_eq!(
        steps,
        [
            (StepKind::Boot, StepVerdict::Proven),
            (StepKind::Namespace, StepVerdict::Proven),
            (StepKind::Process, StepVerdict::Proven),
            (StepKind::Connection, StepVerdict::Proven),
            (StepKind::Listener, StepVerdict::Proven),
            (StepKind::Answer, StepVerdict::Claimed),
            (StepKind::Writer, StepVerdict::Proven),
            (StepKind::Image, StepVerdict::Proven),
            (StepKind::Alive, StepVerdict::Proven),
        ]
    );
    let listener = &proof.steps[4].evidence;
    assert!(listener.starts_with(&format!("process {} of user ", identity.pid)), "{listener}");
}

#[test]
fn credentials_alone_are_a_lower_level_and_the_strict_policy_says_so() {
    let daemon = Daemon::length_prefixed(PROGRAM);
    let identity = daemon.identity();
    let mut policy = Policy::default();
    policy.only_credentials = true;
    assert_eq!(DRIVER.prove(&identity, &policy).unwrap().level, ProofLevel::Named);
    let mut strict = Policy::strict();
    strict.only_credentials = true;
    let rule = PolicyRule::Level { got: ProofLevel::Named, weakest: ProofLevel::Held };
    assert_eq!(refusal(&identity, strict), rule);
}

#[test]
fn an_identity_file_without_an_origin_is_a_published_peers() {
    let daemon = Daemon::length_prefixed(PROGRAM);
    let mut identity = daemon.identity();
    identity.origin = None;
    let proof = DRIVER.prove(&identity, &Policy::default()).unwrap();
    assert!(!proof.with_origin);
    assert_eq!(refusal(&identity, Policy::strict()), PolicyRule::WithoutOrigin);
}

#[test]
fn zeros_for_a_digest_are_an_absent_one_and_no_digest_at_all_proves_nothing() {
    const ABSENT: [u8; 32] = [0; 32];
    let daemon = Daemon::length_prefixed(PROGRAM);
    let identity = daemon.identity();
    let with = |exe_digests| {
        let mut recorded = identity.clone();
        recorded.exe_digests = exe_digests;
        recorded
    };
    let (blake3, sha256) = (*identity.exe_digests.blake3().unwrap(), *identity.exe_digests.sha256().unwrap());
    for policy in [Policy::default(), Policy::strict(), Policy::lenient()] {
        for digests in [
            ExeDigests::Both { sha256: ABSENT, blake3 },
            ExeDigests::Both { sha256, blake3: ABSENT },
            ExeDigests::Blake3(blake3),
            ExeDigests::Sha256(sha256),
        ] {
            let proof = DRIVER.prove(&with(digests), &policy).unwrap();
            assert_eq!(proof.image, ImageState::Unchanged, "{digests:?}");
        }
        for digests in [
            ExeDigests::Both { sha256: ABSENT, blake3: ABSENT },
            ExeDigests::Sha256(ABSENT),
            ExeDigests::Both { sha256: ABSENT, blake3: [9; 32] },
        ] {
            let refused = DRIVER.prove(&with(digests), &policy).unwrap_err();
            assert!(matches!(refused.error, ProbeError::Mismatch(_)), "{:?} of {digests:?}", refused.error);
        }
    }
}

#[test]
fn a_client_that_is_its_own_daemon_needs_no_digest() {
    let mut policy = Policy::default();
    policy.image = ImageCheck::SameAsCaller;
    let other = Daemon::length_prefixed(PROGRAM);
    assert_eq!(refusal(&other.identity(), policy.clone()), PolicyRule::NotTheCallersImage);

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let endpoint = Endpoint::unix_socket("test", socket.to_str().unwrap()).unwrap();
    let server = Server::bind(endpoint).unwrap();
    let stop = server.stop_handle();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let server = server.on_ready(move |daemon| ready.send(daemon.clone()).unwrap());
    let serving = std::thread::spawn(|| server.run());
    watched(move || {
        let identity = is_ready.recv().unwrap();
        let proof = DRIVER.prove(&identity, &policy).unwrap();
        let image = &proof.steps[7];
        assert_eq!((image.kind, image.verdict), (StepKind::Image, StepVerdict::Proven));
        assert!(image.evidence.starts_with("the caller's own executable"), "{}", image.evidence);
        stop.stop();
        serving.join().unwrap().unwrap();
    });
}

#[test]
fn a_refused_verification_tells_how_far_it_came() {
    let daemon = Daemon::length_prefixed(PROGRAM);
    let mut identity = daemon.identity();
    identity.origin.as_mut().unwrap().start_time += 1;
    let refused = DRIVER.prove(&identity, &Policy::default()).unwrap_err();
    assert!(matches!(refused.error, ProbeError::ReusedPid { .. }), "{:?}", refused.error);
    let last = refused.steps.last().unwrap();
    assert_eq!((last.kind, last.verdict), (StepKind::Process, StepVerdict::Refused));
    assert_eq!(last.evidence, refused.error.to_string());
}
