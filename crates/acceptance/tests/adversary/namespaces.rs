//! Other pid namespaces, and other users.

use crate::harness::{
    PEER, PROBER, Probed, TOKIO, assert_genuine, both, every_policy, is_root, place, refused, unshared,
};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::{Peer, TestEndpoint, copy_program};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const DAEMONS_USER: &str = "65534";
const CALLERS_USER: &str = "65533";

#[test]
fn a_daemon_in_another_pid_namespace_is_told_as_such_also_where_its_pid_exists_here() {
    let place = place();
    let Some(mut unshare) = unshared() else { return };
    // The daemon is process 1 of its namespace, and there is a process 1 here.
    let _daemon = Peer::start(unshare.args([PEER, "genuine"]).args([&place.socket, &place.identity_file]));
    let identity = place.identity();
    assert_eq!(identity.pid, 1);
    for policy in every_policy() {
        let error = refused(&identity, &policy);
        assert!(matches!(error, ProbeError::OtherNamespace { pid: 1 }), "{error:?}");
    }
    // A published peer's identity file has no namespace; the kernel names it.
    let mut published = identity.clone();
    published.origin = None;
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        let error = refused(&published, policy);
        assert!(matches!(error, ProbeError::OtherNamespace { pid: 1 }), "{error:?} by {policy:?}");
    }
    // It is not accepted either if the numbers agree by coincidence, start time included.
    let mut coincidence = identity;
    coincidence.origin = this_process().origin;
    coincidence.pid = std::process::id();
    for policy in both(&Policy::default()).iter().chain(&both(&Policy::lenient())) {
        let error = refused(&coincidence, policy);
        assert!(matches!(error, ProbeError::OtherNamespace { .. }), "{error:?} by {policy:?}");
    }
}

fn this_process() -> DaemonProcess {
    let anywhere = Endpoint::unix_socket("adversary", "/anywhere").unwrap();
    DaemonProcess::current_process(anywhere, None).unwrap()
}

#[test]
fn a_caller_in_a_pid_namespace_of_its_own_does_not_mistake_a_neighbour_for_the_daemon() {
    let place = place();
    let _daemon = place.start("genuine");
    let identity = place.identity();
    // Process 1 of the caller's namespace is the caller.
    let mut of_pid_one = identity.clone();
    of_pid_one.pid = 1;
    of_pid_one.origin = None;
    let mut published = identity.clone();
    published.origin = None;
    for (identity_file, reasons) in [
        (&identity, &["OtherNamespace"][..]),
        (&of_pid_one, &["OtherNamespace"]),
        (&published, &["OtherNamespace"]),
    ] {
        for words in
            [["default", "credentials=0"], ["lenient", "credentials=1"], ["lenient", "credentials=0"]]
        {
            let Some(mut unshare) = unshared() else { return };
            let path = place.path("identity file for the caller");
            std::fs::write(&path, serde_json::to_vec(identity_file).unwrap()).unwrap();
            let probed = Probed::by(unshare.arg(PROBER).arg(&path).args(words).arg(TOKIO));
            let outcome = probed.outcome(1);
            let told = reasons.iter().any(|reason| outcome.starts_with(&format!("refused {reason}")));
            assert!(told, "{outcome} for {words:?}");
        }
    }
}

/// Returns a copy of `program` that every user can run.
fn for_everyone(place: &TestEndpoint, program: &str) -> PathBuf {
    let copy = place.path(Path::new(program).file_name().unwrap().to_str().unwrap());
    copy_program(program.as_ref(), &copy, 0);
    std::fs::set_permissions(place.directory.path(), Permissions::from_mode(0o1777)).unwrap();
    copy
}

fn as_user(user: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    command
}

/// Starts a daemon of another user, whose socket and identity file all users may use.
fn foreign_daemon(place: &TestEndpoint) -> Peer {
    let program = for_everyone(place, PEER);
    let mut command = as_user(DAEMONS_USER);
    let daemon = Peer::start(command.arg(program).arg("genuine").args([&place.socket, &place.identity_file]));
    std::fs::set_permissions(&place.socket, Permissions::from_mode(0o666)).unwrap();
    // The caller reads identity files of its own user and of root.
    let identity_file = std::fs::read(&place.identity_file).unwrap();
    std::fs::write(place.path("identity file of root"), identity_file).unwrap();
    std::fs::set_permissions(place.path("identity file of root"), Permissions::from_mode(0o644)).unwrap();
    daemon
}

#[test]
fn a_daemon_whose_image_another_user_may_not_read_is_not_inspectable_and_never_gone() {
    if !is_root() {
        return;
    }
    let place = place();
    let mut daemon = foreign_daemon(&place);
    let prober = for_everyone(&place, PROBER);
    let probe = |policy: &str, credentials: &str| {
        let mut command = as_user(CALLERS_USER);
        command.arg(&prober).arg(place.path("identity file of root")).args([policy, credentials, TOKIO]);
        Probed::by(&mut command).outcome(1).to_owned()
    };
    for credentials in ["credentials=0", "credentials=1"] {
        let outcome = probe("default", credentials);
        assert!(outcome.starts_with("refused NotInspectable"), "{outcome}");
        // The unchecked step is reported.
        let outcome = probe("lenient", credentials);
        let level = if credentials == "credentials=0" { "Held" } else { "Named" };
        assert_eq!(outcome, format!("served {level} Own Unchecked origin=true"));
    }
    daemon.kill();
    let outcome = probe("default", "credentials=0");
    assert!(outcome.starts_with("refused Gone"), "{outcome}");
}

#[test]
fn a_daemon_that_proc_hides_is_not_inspectable_and_never_gone() {
    if !is_root() {
        return;
    }
    let place = place();
    let mut daemon = foreign_daemon(&place);
    let prober = for_everyone(&place, PROBER);
    let probe = |policy: &str| {
        let mut command = Command::new("unshare");
        let hide = "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"";
        command.args(["--mount", "sh", "-c", hide, "sh", "setpriv", "--reuid", CALLERS_USER]);
        command.args(["--regid", CALLERS_USER, "--clear-groups"]);
        command.arg(&prober).arg(place.path("identity file of root")).args([policy, TOKIO]);
        Probed::by(&mut command).outcome(1).to_owned()
    };
    for policy in ["default", "strict"] {
        let outcome = probe(policy);
        assert!(outcome.starts_with("refused NotInspectable"), "{outcome}");
    }
    // The kernel still names the listener and the writer, without `/proc`.
    assert_eq!(probe("lenient"), "served Held Own Unchecked origin=true");
    daemon.kill();
    for policy in ["default", "lenient"] {
        let outcome = probe(policy);
        assert!(outcome.starts_with("refused Gone"), "{outcome}");
    }
}

#[test]
fn another_users_daemon_is_open_to_root() {
    if !is_root() {
        return;
    }
    let place = place();
    let _daemon = foreign_daemon(&place);
    let identity = serde_json::from_slice(&std::fs::read(&place.identity_file).unwrap()).unwrap();
    for policy in both(&Policy::default()) {
        assert_genuine(&identity, &policy);
    }
}

/// Returns a command that runs another as `user` in a user namespace without mappings, if this system permits that.
fn unmapped(user: &str) -> Option<Command> {
    let unshared = || {
        let mut command = as_user(user);
        command.args(["unshare", "--user"]);
        command
    };
    let output = unshared().arg("true").output();
    if !output.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a user namespace cannot be had: {output:?}");
        return None;
    }
    Some(unshared())
}

/// Starts a daemon in such a namespace, in which the caller, the daemon and a stranger have one number.
#[test]
fn users_that_cannot_be_told_apart_are_not_taken_for_ones_own() {
    if !is_root() {
        return;
    }
    let place = place();
    // The caller may read the identity file, but only the daemon's user may write it.
    let directory = place.path("theirs");
    std::fs::create_dir(&directory).unwrap();
    let identity_file = directory.join("identity file");
    let daemon = place.start("genuine");
    std::fs::copy(&place.identity_file, &identity_file).unwrap();
    for path in [&directory, &identity_file] {
        std::os::unix::fs::chown(path, Some(DAEMONS_USER.parse().unwrap()), None).unwrap();
    }
    std::fs::set_permissions(&identity_file, Permissions::from_mode(0o644)).unwrap();
    let program = for_everyone(&place, PROBER);
    for user in [CALLERS_USER, DAEMONS_USER] {
        let Some(mut command) = unmapped(user) else { return };
        let output = command.arg(&program).arg(&identity_file).args(["lenient", TOKIO]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("UnmappedUser"), "{output:?}");
    }
    // Outside of such a namespace the stranger is refused and the owner is served.
    let mut stranger = as_user(CALLERS_USER);
    let output = stranger.arg(&program).arg(&identity_file).args(["lenient", TOKIO]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("ForeignDirectory"), "{output:?}");
    let mut owner = as_user(DAEMONS_USER);
    std::fs::set_permissions(&place.socket, Permissions::from_mode(0o666)).unwrap();
    let probed = Probed::by(owner.arg(&program).arg(&identity_file).args(["lenient", TOKIO]));
    assert!(probed.outcome(1).starts_with("served"), "{:?}", probed.lines);
    drop(daemon);
}

#[test]
fn a_daemon_that_cannot_tell_users_apart_does_not_start() {
    if !is_root() {
        return;
    }
    let place = place();
    let program = for_everyone(&place, PEER);
    let Some(mut command) = unmapped(DAEMONS_USER) else { return };
    let output =
        command.arg(program).arg("aloud").args([&place.socket, &place.identity_file]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("UnmappedUser"), "{output:?}");
    assert!(!place.socket.exists() && !place.identity_file.exists());
}
