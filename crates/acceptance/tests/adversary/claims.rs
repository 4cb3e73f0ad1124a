//! Processes at a socket without an identity file: the kernel confirms their claims, or contradicts them by name.

use crate::harness::{PEER, assert_learned_nothing, both, is_root, place, unshared};
use running_process::broker::backend_lifecycle::probe::{PeerRole, ProbeError};
use running_process::broker::backend_lifecycle::verify::{
    Claim, Listener, Policy, ProofLevel, StepKind, StepVerdict, verify_claim,
};
use running_process::broker::backend_sdk::ConnectError;
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::{Peer, TEST_TIMEOUT, TestEndpoint, soon, watched};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn claim_until(place: &TestEndpoint, policy: &Policy, deadline: Instant) -> Claim {
    let endpoint = Endpoint::unix_socket("", place.socket.to_str().unwrap()).unwrap();
    let policy = policy.clone();
    watched(move || verify_claim(&endpoint, &policy, deadline))
}

fn claim(place: &TestEndpoint, policy: &Policy) -> Claim {
    claim_until(place, policy, soon())
}

#[track_caller]
fn listener(claim: &Claim) -> u32 {
    claim.listener.as_ref().unwrap().process.pid
}

/// Returns the reason why the claim is not proven.
#[track_caller]
fn refused(claim: Claim) -> ProbeError {
    let unverified = claim.proof.unwrap_err();
    let last = unverified.steps.last().unwrap();
    assert_eq!((last.verdict, &last.evidence), (StepVerdict::Refused, &unverified.error.to_string()));
    unverified.error
}

#[test]
fn a_genuine_daemon_is_what_it_claims_to_be() {
    let place = place();
    let daemon = place.start("genuine");
    for policy in both(&Policy::default()) {
        let claim = claim(&place, &policy);
        assert_eq!(claim.identity.unwrap(), place.identity());
        let listener = claim.listener.unwrap();
        assert_eq!(listener.uid, Some(rustix::process::geteuid().as_raw()));
        assert_eq!(
            (listener.process.pid, listener.process.program.as_deref()),
            (daemon.pid(), Some(Path::new(PEER)))
        );
        let proof = claim.proof.unwrap();
        let level = if policy.only_credentials { ProofLevel::Named } else { ProofLevel::Held };
        assert_eq!((proof.level, proof.listener), (level, Listener::Own));
        let kinds: Vec<_> = proof.steps.iter().map(|step| step.kind).collect();
        assert_eq!(
            kinds,
            [
                StepKind::Boot,
                StepKind::Namespace,
                StepKind::Process,
                StepKind::Connection,
                StepKind::Listener,
                StepKind::Answer,
                StepKind::Writer,
                StepKind::Image,
                StepKind::Alive
            ]
        );
    }
}

#[test]
fn a_process_that_claims_to_be_another_is_contradicted_by_name_and_asked_once() {
    let place = place();
    let daemon = place.start("genuine");
    let mut impostor = place.start("replay");
    for policy in both(&Policy::default()) {
        let claim = claim(&place, &policy);
        assert_eq!(claim.identity.as_ref().unwrap().pid, daemon.pid());
        assert_eq!(listener(&claim), impostor.pid());
        let ProbeError::Impostor { role: PeerRole::Listener, pid, expected, .. } = refused(claim) else {
            panic!()
        };
        assert_eq!((pid, expected), (impostor.pid(), daemon.pid()));
    }
    assert_learned_nothing(&mut impostor, 2);
}

#[test]
fn a_proxy_is_contradicted_by_name() {
    let place = place();
    let daemon = place.start("genuine");
    let genuine = place.path("elsewhere");
    std::fs::rename(&place.socket, &genuine).unwrap();
    let mut proxy = Peer::start(place.command("proxy").arg(&genuine));
    let claimed = claim(&place, &Policy::default());
    assert_eq!((listener(&claimed), claimed.identity.as_ref().unwrap().pid), (proxy.pid(), daemon.pid()));
    let ProbeError::Impostor { pid, .. } = refused(claimed) else { panic!() };
    assert_eq!(pid, proxy.pid());
    assert_learned_nothing(&mut proxy, 1);
}

#[test]
fn a_child_that_answers_for_its_parent_is_contradicted_as_the_writer() {
    let place = place();
    let daemon = place.start("delegate");
    let claim = claim(&place, &Policy::default());
    assert_eq!((listener(&claim), claim.identity.as_ref().unwrap().pid), (daemon.pid(), daemon.pid()));
    let ProbeError::Impostor { role: PeerRole::Writer, pid, .. } = refused(claim) else { panic!() };
    assert_ne!(pid, daemon.pid());
}

#[test]
fn an_answer_that_a_child_finishes_is_contradicted_by_its_second_writer() {
    let place = place();
    let daemon = place.start("delegate-half");
    let claim = claim(&place, &Policy::default());
    assert_eq!((listener(&claim), claim.identity.as_ref().unwrap().pid), (daemon.pid(), daemon.pid()));
    let ProbeError::Impostor { role: PeerRole::Writer, pid, .. } = refused(claim) else { panic!() };
    assert_ne!(pid, daemon.pid());
}

#[test]
fn a_daemon_behind_a_service_manager_is_what_it_claims_to_be_and_one_who_repeats_its_claim_is_not() {
    let place = place();
    let listening = UnixListener::bind(&place.socket).unwrap();
    let _kept = listening.try_clone().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 0<&-"#, PEER, "inherited"]);
    let daemon = Peer::start_on(shell.args([&place.socket, &place.identity_file]), listening);
    let claimed = claim(&place, &Policy::default());
    assert_eq!(listener(&claimed), std::process::id());
    assert_eq!(claimed.identity.unwrap().pid, daemon.pid());
    assert_eq!(claimed.proof.unwrap().listener, Listener::Inherited { by: Some(std::process::id()) });

    let impostor = place.start("replay");
    let ProbeError::Impostor { role: PeerRole::Writer, pid, .. } = refused(claim(&place, &Policy::default()))
    else {
        panic!("the listener is not asked about")
    };
    assert_eq!(pid, impostor.pid());
}

#[test]
fn an_image_that_is_not_the_claimed_one_is_a_contradiction() {
    let place = TestEndpoint::with_large_copy(PEER, 64 << 20);
    let _copy = place.start("genuine");
    let mut liar = Command::new(PEER);
    let _liar = Peer::start(liar.arg("other-digests").args([&place.socket, &place.identity_file]));
    let error = refused(claim(&place, &Policy::default()));
    assert!(matches!(error, ProbeError::WrongImage { .. }), "{error:?}");
}

#[test]
fn a_daemon_of_another_pid_namespace_is_neither_confirmed_nor_contradicted() {
    let place = place();
    let Some(mut unshare) = unshared() else { return };
    let _daemon = Peer::start(unshare.args([PEER, "genuine"]).args([&place.socket, &place.identity_file]));
    let claim = claim(&place, &Policy::default());
    assert_eq!(claim.identity.as_ref().unwrap().pid, 1);
    let error = refused(claim);
    assert!(matches!(error, ProbeError::OtherNamespace { pid: 1 }), "{error:?}");
}

#[test]
fn a_process_that_does_not_answer_is_named_and_costs_the_deadline_at_most() {
    const SHORT: Duration = Duration::from_millis(150);
    for (mode, until_the_deadline) in
        [("silent", true), ("drip", true), ("hang-up", false), ("flood", false), ("greet", false)]
    {
        let place = place();
        let daemon = Peer::start(place.command(mode).arg("1"));
        let began = Instant::now();
        let claim = claim_until(&place, &Policy::default(), began + SHORT);
        let took = began.elapsed();
        assert!(took < SHORT + TEST_TIMEOUT / 10, "{mode}: {took:?}");
        assert_eq!(took >= SHORT, until_the_deadline, "{mode}: {took:?}");
        assert_eq!((listener(&claim), claim.identity.is_none()), (daemon.pid(), true), "{mode}");
        let steps: Vec<_> = claim.proof.as_ref().unwrap_err().steps.iter().map(|step| step.kind).collect();
        assert_eq!(steps, [StepKind::Connection, StepKind::Answer], "{mode}");
        let error = refused(claim);
        let is_expected = match mode {
            "silent" | "drip" => matches!(error, ProbeError::TimedOut),
            "hang-up" => matches!(error, ProbeError::Closed),
            _ => matches!(error, ProbeError::Framing(_)),
        };
        assert!(is_expected, "{mode}: {error:?}");
    }
}

#[test]
fn a_socket_without_a_listener_is_a_refused_connection() {
    let place = place();
    drop(UnixListener::bind(&place.socket).unwrap());
    let claim = claim(&place, &Policy::default());
    assert!(claim.listener.is_none() && claim.identity.is_none());
    let error = refused(claim);
    assert!(matches!(error, ProbeError::Connect(ConnectError::Refused { .. })), "{error:?}");
}

#[test]
fn a_daemon_of_another_user_is_named_with_its_user() {
    if !is_root() {
        return;
    }
    let place = TestEndpoint::with_copy(PEER);
    let mut chown = Command::new("chown");
    assert!(chown.args(["-R", "65534"]).arg(place.directory.path()).status().unwrap().success());
    let mut command = place.command("genuine");
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    let daemon = Peer::start(&mut command);
    let claim = claim(&place, &Policy::default());
    assert_eq!((listener(&claim), claim.listener.unwrap().uid), (daemon.pid(), Some(65_534)));
    claim.proof.unwrap();
}
