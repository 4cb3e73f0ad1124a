//! A daemon on a socket that another process made, as service managers make it.

use crate::DRIVER;
use crate::harness::{PEER, ask, assert_genuine, assert_refused_as, both, is_root, place, refused, verify};
use running_process::broker::backend_handle::{BackendHandleError, DaemonProcess};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{InheritedListener, Listener, Policy};
use running_process::broker::backend_sdk::FrameClient;
use running_process_acceptance::{Peer, TOKEN, TestEndpoint};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// The steps of a service manager (`sd_listen_fds(3)`): the shell has the pid that the daemon will have.
const AS_THE_PROTOCOL_SAYS: &str = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 0<&-"#;

/// Starts a daemon with this process as the service manager.
fn inherited(place: &TestEndpoint, mode: &str) -> (Peer, UnixListener) {
    let listener = UnixListener::bind(&place.socket).unwrap();
    let kept = listener.try_clone().unwrap();
    (Peer::start_on(&mut passing(&place.command(mode)), listener), kept)
}

/// Returns a command that passes its standard input to `command` as a service manager would.
fn passing(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    if command.get_args().any(|argument| argument == "inherited") {
        shell.args(["-c", AS_THE_PROTOCOL_SAYS]);
    } else {
        shell.args(["-c", r#"exec "$0" "$@""#]);
    }
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

fn made_here() -> Listener {
    Listener::Inherited { by: Some(std::process::id()) }
}

fn refusing(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.inherited_listener = InheritedListener::Refuse;
    policy
}

#[test]
fn a_daemon_on_an_inherited_listener_is_accepted_if_the_identity_file_says_so() {
    let place = place();
    let (_daemon, _kept) = inherited(&place, "inherited");
    let identity = place.identity();
    assert!(identity.origin.as_ref().unwrap().inherited_listener);
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        let handle = verify(&identity, policy).unwrap();
        assert_eq!(handle.proof().listener, made_here());
        let further = FrameClient::from_stream(DRIVER.connect(&handle).unwrap());
        assert_eq!(ask(further), TOKEN);
        assert_genuine(&identity, policy);
    }
    assert_genuine(&identity, &Policy::strict());
    for policy in both(&refusing(&Policy::default())) {
        assert_this_process_is_refused(&identity, &policy);
    }
}

#[track_caller]
fn assert_this_process_is_refused(identity: &DaemonProcess, policy: &Policy) {
    let own_image = std::env::current_exe().unwrap();
    assert_refused_as(refused(identity, policy), policy, identity, std::process::id(), &own_image);
}

#[test]
fn a_daemon_on_an_inherited_listener_is_refused_if_the_identity_file_does_not_say_so() {
    let place = place();
    let (_daemon, _kept) = inherited(&place, "inherited-unrecorded");
    let identity = place.identity();
    assert!(!identity.origin.as_ref().unwrap().inherited_listener);
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::strict())) {
        assert_this_process_is_refused(&identity, policy);
    }
    for policy in both(&Policy::lenient()) {
        assert_eq!(verify(&identity, &policy).unwrap().proof().listener, made_here());
        assert_genuine(&identity, &policy);
    }
}

#[test]
fn an_inherited_listener_opens_the_door_to_no_one_else() {
    for mode in ["proxy-inherited", "replay-inherited"] {
        let place = place();
        let (_daemon, _kept) = inherited(&place, "inherited");
        let identity = place.identity();
        let genuine = place.path("elsewhere");
        std::fs::rename(&place.socket, &genuine).unwrap();
        // It listens on a socket of the same service manager.
        let listener = UnixListener::bind(&place.socket).unwrap();
        let impostor = Peer::start_on(place.command(mode).arg(&genuine), listener);
        for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
            let error = refused(&identity, policy);
            assert_refused_as(error, policy, &identity, impostor.pid(), Path::new(PEER));
        }
    }
}

#[test]
fn further_connections_of_an_inherited_listener_are_verified_as_well() {
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        let place = place();
        let (_daemon, _kept) = inherited(&place, "inherited");
        let identity = place.identity();
        let handle = verify(&identity, policy).unwrap();
        std::fs::remove_file(&place.socket).unwrap();
        let listener = UnixListener::bind(&place.socket).unwrap();
        let impostor = Peer::start_on(&mut place.command("replay-inherited"), listener);
        match DRIVER.connect(&handle) {
            Err(BackendHandleError::Probe(error)) => {
                assert_refused_as(error, policy, &identity, impostor.pid(), Path::new(PEER));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_writer_without_privileges_cannot_claim_to_be_the_daemon() {
    if !is_root() {
        return;
    }
    let place = TestEndpoint::with_copy(PEER);
    let everyone =
        |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    everyone(place.directory.path(), 0o1777);
    // The impostor runs as the daemon's user: only the kernel tells them apart.
    let nobody = |mode: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&place.program);
        command.arg(mode).args([&place.socket, &place.identity_file]);
        command
    };
    let listener = UnixListener::bind(&place.socket).unwrap();
    let _daemon = Peer::start_on(&mut passing(&nobody("inherited")), listener);
    let identity: DaemonProcess =
        serde_json::from_slice(&std::fs::read(&place.identity_file).unwrap()).unwrap();
    assert_genuine(&identity, &Policy::default());
    std::fs::remove_file(&place.socket).unwrap();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let _impostor = Peer::start_on(&mut nobody("claim-inherited"), listener);
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        // The kernel does not accept the claim, and the impostor has no other.
        let error = refused(&identity, policy);
        assert!(matches!(error, ProbeError::Closed), "{error:?}");
    }
}
