//! Changes after a handle was returned.

use crate::DRIVER;
use crate::harness::{
    PEER, SCENARIO, ask, assert_learned_nothing, assert_refused_as, both, every_policy, is_impossible, place,
    refused, unshared, verify,
};
use running_process::broker::backend_handle::BackendHandleError;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::FrameClient;
use running_process_acceptance::{Peer, TOKEN, TestEndpoint};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_socket_that_is_replaced_after_the_verification_is_noticed_by_connect_and_does_not_matter_to_the_handle()
{
    for policy in every_policy().into_iter().filter(|policy| !is_impossible(policy)) {
        let place = place();
        let _daemon = place.start("genuine");
        let identity = place.identity();
        let handle = verify(&identity, &policy).unwrap();
        assert_eq!(ask(FrameClient::from_stream(DRIVER.connect(&handle).unwrap())), TOKEN);
        let genuine = place.path("elsewhere");
        std::fs::hard_link(&place.socket, &genuine).unwrap();

        let mut replay = place.start("replay");
        let again = |impostor: &Peer| match DRIVER.connect(&handle) {
            Err(BackendHandleError::Probe(error)) => {
                assert_refused_as(error, &policy, &identity, impostor.pid(), Path::new(PEER));
            }
            other => panic!("{other:?}"),
        };
        again(&replay);
        assert_learned_nothing(&mut replay, 1);
        let mut proxy = Peer::start(place.command("proxy").arg(&genuine));
        again(&proxy);
        assert_learned_nothing(&mut proxy, 1);

        std::fs::rename(&genuine, &place.socket).unwrap();
        assert_eq!(ask(FrameClient::from_stream(DRIVER.connect(&handle).unwrap())), TOKEN);
        assert_eq!(ask(handle.into_client()), TOKEN);
    }
}

#[test]
fn a_pid_that_is_used_again_by_the_same_executable_does_not_pass_for_the_recorded_run() {
    let Some(mut unshare) = unshared() else { return };
    let mut scenario = Peer::spawn(unshare.args([SCENARIO, "reuse"]), Stdio::null());
    let lines = scenario.lines();
    let expected = [
        "the first daemon: accepted origin=true genuine",
        "no process: Gone",
        "old identity file, restarted daemon: ReusedPid",
        "old identity file, restarted daemon, lenient: ReusedPid",
        "new identity file, restarted daemon: accepted origin=true genuine",
        "published identity file, restarted daemon: accepted origin=false genuine",
        "published identity file, restarted daemon, strict: Policy",
        "replay by the same pid: ReusedPid",
        "replay by the same pid, lenient: ReusedPid",
        "the pid without the socket: ReusedPid",
        "the pid without the socket, an impostor with it: ReusedPid",
        "a socket of an earlier life of the pid: Impostor",
        "a further connection to a socket of an earlier life of the pid: Impostor",
        "the connection that was verified before: genuine",
    ];
    let expected = ["pidfd", "credentials"].map(|mode| expected.map(|line| format!("{mode} {line}")));
    assert_eq!(lines, expected.concat());
}

#[test]
fn a_thousand_rounds_of_replacing_restarting_and_reusing_pids_give_no_wrong_verdict() {
    const ROUNDS: u64 = 1000;
    let seed = std::env::var("ADVERSARY_SEED").map_or_else(
        |_| std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into(),
        |seed| seed.parse::<u64>().unwrap(),
    );
    println!("ADVERSARY_SEED={seed}");
    let namespace = unshared();
    let reuses = namespace.is_some();
    let mut command = namespace.map_or_else(
        || Command::new(SCENARIO),
        |mut command| {
            command.arg(SCENARIO);
            command
        },
    );
    command.args(["race", &seed.to_string(), &ROUNDS.to_string()]);
    let mut scenario = Peer::spawn(&mut command, Stdio::null());
    scenario.wait_longer(9);
    let lines = scenario.lines();
    let report = lines.join("\n");
    println!("{report}");
    assert_eq!(lines.last(), Some(&format!("rounds {ROUNDS}")), "{report}");
    assert!(!lines.iter().any(|line| line.starts_with("wrong")), "seed {seed}:\n{report}");
    let saw = |what: &str| lines.iter().any(|line| line.contains(what));
    assert!(saw("accepted, the current run, at rest"), "{report}");
    assert!(saw("Impostor, the current run, at rest"), "{report}");
    assert!(!reuses || saw("ReusedPid"), "{report}");
}

#[test]
fn a_handle_whose_daemon_was_restarted_does_not_connect_to_the_next_one() {
    for policy in both(&Policy::default()) {
        let place = place();
        let mut first = place.start("genuine");
        let handle = verify(&place.identity(), &policy).unwrap();
        first.kill();
        first.reap();
        let _second = place.start("genuine");
        let refused = DRIVER.connect(&handle).unwrap_err();
        assert!(
            matches!(
                refused,
                BackendHandleError::Probe(ProbeError::Impostor { .. } | ProbeError::Gone { .. })
            ),
            "{refused:?}"
        );
        assert!(!handle.is_alive());
    }
}

#[test]
fn the_identity_file_of_another_daemon_at_the_same_path_is_refused() {
    let (place, elsewhere) = (place(), TestEndpoint::new(PEER));
    let daemon = place.start("genuine");
    let _other = elsewhere.start("genuine");
    let mut identity = elsewhere.identity();
    identity.ipc_endpoint = place.identity().ipc_endpoint;
    for policy in every_policy() {
        let error = refused(&identity, &policy);
        let ProbeError::Impostor { pid, expected, .. } = error else { panic!("{error:?}") };
        assert_eq!((pid, expected), (daemon.pid(), identity.pid));
    }
}
