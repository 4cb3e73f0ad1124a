//! Another process at the socket's path.

use crate::harness::{
    PEER, assert_genuine, assert_impostor, assert_learned_nothing, both, every_policy, place, refused,
};
use running_process::broker::backend_lifecycle::probe::{Absence, PolicyRule, ProbeError};
use running_process::broker::backend_lifecycle::verify::{Listener, Policy, ProofLevel};
use running_process_acceptance::{Peer, installed};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_genuine_daemon_is_accepted_by_every_policy_that_asks_for_what_the_kernel_can_say() {
    let place = place();
    let _daemon = place.start("genuine");
    let identity = place.identity();
    for policy in every_policy() {
        if policy.only_credentials && policy.weakest == ProofLevel::Held {
            let error = refused(&identity, &policy);
            let rule = PolicyRule::Level { got: ProofLevel::Named, weakest: ProofLevel::Held };
            assert!(matches!(error, ProbeError::Policy(broken) if broken == rule), "{error:?}");
            continue;
        }
        assert_genuine(&identity, &policy);
        let handle = crate::harness::verify(&identity, &policy).unwrap();
        let level = if policy.only_credentials { ProofLevel::Named } else { ProofLevel::Held };
        assert_eq!((handle.proof().level, handle.proof().listener), (level, Listener::Own));
    }
}

#[test]
fn an_impostor_is_refused_while_the_genuine_daemon_lives_elsewhere() {
    let place = place();
    let _daemon = place.start("genuine");
    let identity = place.identity();
    std::fs::rename(&place.socket, place.path("elsewhere")).unwrap();
    let mut impostor = place.start("replay");
    assert_impostor(&identity, impostor.pid(), Path::new(PEER));
    assert_learned_nothing(&mut impostor, every_policy().len());
    // It still serves at the other path as itself.
    std::fs::rename(place.path("elsewhere"), &place.socket).unwrap();
    assert_genuine(&identity, &Policy::default());
}

#[test]
fn an_impostor_that_takes_the_path_over_is_refused() {
    let place = place();
    let _daemon = place.start("genuine");
    let mut impostor = place.start("replay");
    assert_impostor(&place.identity(), impostor.pid(), Path::new(PEER));
    assert_learned_nothing(&mut impostor, every_policy().len());
}

#[test]
fn an_impostor_is_refused_while_the_genuine_daemon_is_stopped() {
    let place = place();
    let daemon = place.start("genuine");
    daemon.stop();
    let mut impostor = place.start("replay");
    assert_impostor(&place.identity(), impostor.pid(), Path::new(PEER));
    assert_learned_nothing(&mut impostor, every_policy().len());
}

#[test]
fn an_impostor_is_not_even_asked_once_the_genuine_daemon_is_dead() {
    let place = place();
    let mut daemon = place.start("genuine");
    let identity = place.identity();
    let mut impostor = place.start("replay");
    daemon.kill();
    for how in [Absence::Exited, Absence::NoSuchProcess] {
        for policy in every_policy() {
            let error = refused(&identity, &policy);
            let ProbeError::Gone { pid, how: found } = error else { panic!("{error:?}") };
            assert_eq!((pid, found), (identity.pid, how));
        }
        if how == Absence::Exited {
            daemon.reap();
        }
    }
    assert_learned_nothing(&mut impostor, 0);
}

#[test]
fn a_proxy_is_refused_by_name_and_learns_nothing() {
    let place = place();
    let _daemon = place.start("genuine");
    let genuine = place.path("elsewhere");
    std::fs::rename(&place.socket, &genuine).unwrap();
    let mut proxy = Peer::start(place.command("proxy").arg(&genuine));
    assert_impostor(&place.identity(), proxy.pid(), Path::new(PEER));
    assert_learned_nothing(&mut proxy, every_policy().len());
}

#[test]
fn socat_between_caller_and_daemon_is_refused_by_name() {
    if !installed("socat", &["-V"]) {
        return;
    }
    let place = place();
    let _daemon = place.start("genuine");
    let genuine = place.path("elsewhere");
    std::fs::rename(&place.socket, &genuine).unwrap();
    for policy in both(&Policy::default()) {
        let mut command = Command::new("socat");
        command.args(["-d", "-d"]).arg(format!("UNIX-LISTEN:{},unlink-early", place.socket.display()));
        command.arg(format!("UNIX-CONNECT:{}", genuine.display()));
        let mut socat = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut notices = BufReader::new(socat.stderr.take().unwrap()).lines();
        assert!(notices.any(|notice| notice.unwrap().contains("listening on")));
        let error = refused(&place.identity(), &policy);
        let ProbeError::Impostor { pid, image, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*pid, socat.id());
        assert!(image.as_ref().unwrap().to_str().unwrap().contains("socat"), "{error}");
        let _ = socat.kill();
        socat.wait().unwrap();
    }
}

#[test]
fn a_child_that_answers_in_the_daemons_place_or_finishes_its_answer_is_refused() {
    for mode in ["delegate", "delegate-half"] {
        let place = place();
        let daemon = place.start(mode);
        let identity = place.identity();
        for policy in every_policy() {
            let error = refused(&identity, &policy);
            let ProbeError::Impostor { pid, .. } = error else { panic!("{error:?}") };
            assert_ne!(pid, daemon.pid(), "the writer is the child");
        }
    }
}
