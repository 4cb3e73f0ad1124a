//! Callers, policies, and other users.

use crate::DRIVER;
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_lifecycle::probe::{PeerRole, ProbeError};
use running_process::broker::backend_lifecycle::verify::{InheritedListener, Policy, ProofLevel};
use running_process::broker::backend_sdk::FrameClient;
use running_process_acceptance::wire::SHOUT;
use running_process_acceptance::{
    Driver, Peer, SECRET, TEST_TIMEOUT, TOKEN, TestEndpoint, only_a_probe, soon, watched,
};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) const PEER: &str = env!("CARGO_BIN_EXE_peer");
pub(crate) const WRITER: &str = env!("CARGO_BIN_EXE_mapped-writer");
pub(crate) const PROBER: &str = env!("CARGO_BIN_EXE_prober");
pub(crate) const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");

pub(crate) fn place() -> TestEndpoint {
    TestEndpoint::new(PEER)
}

/// Returns a policy with the calls of the newest kernels, and without them.
pub(crate) fn both(policy: &Policy) -> [Policy; 2] {
    [false, true].map(|only_credentials| {
        let mut policy = policy.clone();
        policy.only_credentials = only_credentials;
        policy
    })
}

/// Returns all policies that a caller may have.
pub(crate) fn every_policy() -> Vec<Policy> {
    [Policy::default(), Policy::strict(), Policy::lenient()].iter().flat_map(both).collect()
}

/// Returns whether `policy` asks for a pidfd and forbids it.
pub(crate) fn is_impossible(policy: &Policy) -> bool {
    policy.only_credentials && policy.weakest == ProofLevel::Held
}

pub(crate) fn verify(expected: &DaemonProcess, policy: &Policy) -> Result<BackendHandle, ProbeError> {
    verify_deadline(expected, policy, soon())
}

pub(crate) fn verify_deadline(
    expected: &DaemonProcess,
    policy: &Policy,
    deadline: Instant,
) -> Result<BackendHandle, ProbeError> {
    let (expected, policy) = (expected.clone(), policy.clone());
    watched(move || DRIVER.verify(&expected, policy, deadline))
}

/// Returns which process answers a request on `client`.
pub(crate) fn ask(mut client: FrameClient) -> String {
    client.set_timeout(Some(TEST_TIMEOUT));
    let answer = client.request(SHOUT, SECRET.to_vec()).unwrap().payload;
    let answer = String::from_utf8(answer).unwrap();
    answer.split(' ').next().unwrap().to_owned()
}

/// Checks that the genuine daemon is accepted, and that it answers.
#[track_caller]
pub(crate) fn assert_genuine(expected: &DaemonProcess, policy: &Policy) {
    let handle = verify(expected, policy).unwrap_or_else(|error| panic!("{error:?}, {policy:?}"));
    assert_eq!(ask(handle.into_client()), TOKEN);
}

/// Returns the reason why there is no handle. If there is one, the caller sends its secret.
#[track_caller]
pub(crate) fn refused(expected: &DaemonProcess, policy: &Policy) -> ProbeError {
    match verify(expected, policy) {
        Err(error) => error,
        Ok(handle) => {
            let proof = format!("{:#?}", handle.proof());
            panic!("accepted by {policy:?}, and {} answers: {proof}", ask(handle.into_client()))
        }
    }
}

/// Checks that `impostor` is refused by name under every policy.
#[track_caller]
pub(crate) fn assert_impostor(expected: &DaemonProcess, pid: u32, image: &Path) {
    for policy in every_policy() {
        assert_refused_as(refused(expected, &policy), &policy, expected, pid, image);
    }
}

/// Checks the error. A caller that accepts an inherited listener judges the writer of the answer; all others judge the
/// listener.
#[track_caller]
pub(crate) fn assert_refused_as(
    error: ProbeError,
    policy: &Policy,
    expected: &DaemonProcess,
    pid: u32,
    image: &Path,
) {
    let inherited = match policy.inherited_listener {
        InheritedListener::Refuse => false,
        InheritedListener::IfRecorded => {
            expected.origin.as_ref().is_some_and(|origin| origin.inherited_listener)
        }
        _ => true,
    };
    let as_whom = if inherited { PeerRole::Writer } else { PeerRole::Listener };
    let message = error.to_string();
    match error {
        ProbeError::Impostor { role, pid: found, image: runs, expected: recorded } => {
            assert_eq!((role, found, recorded), (as_whom, pid, expected.pid), "{policy:?}");
            assert_eq!(runs.as_deref(), Some(image), "{policy:?}");
            let named = format!("process {pid} ({:?})", image.display().to_string());
            assert!(message.contains(&named), "{message}");
        }
        other => panic!("{other:?} by {policy:?}"),
    }
}

/// Checks that `impostor` has received at most challenges, on exactly `connections` connections.
#[track_caller]
pub(crate) fn assert_learned_nothing(impostor: &mut Peer, connections: usize) {
    let received = impostor.received();
    assert_eq!(received.len(), connections);
    for bytes in received {
        let text = String::from_utf8_lossy(&bytes);
        assert!(only_a_probe(&bytes), "the impostor was told {text:?}");
    }
}

/// The output of a prober in a process of its own, by the first word of each line.
pub(crate) struct Probed {
    pub(crate) lines: Vec<String>,
}

impl Probed {
    /// Runs `command`, which in the end executes the program [`PROBER`].
    pub(crate) fn by(command: &mut Command) -> Self {
        let mut prober = Peer::spawn(command, Stdio::null());
        let lines = prober.lines();
        assert!(!lines.is_empty(), "{command:?}");
        Self { lines }
    }

    /// Returns the only outcome of `times` verifications.
    #[track_caller]
    pub(crate) fn outcome(&self, times: u64) -> &str {
        let outcomes: Vec<_> = self.lines.iter().filter(|line| line.contains(" times ")).collect();
        assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
        outcomes[0].strip_prefix(&format!("{times} times ")).unwrap()
    }

    /// Returns the numbers after `name`.
    #[track_caller]
    pub(crate) fn numbers(&self, name: &str) -> Vec<u64> {
        let line = self.lines.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {:?}", self.lines))
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect()
    }
}

/// The argument of a prober that selects the driver.
pub(crate) const TOKIO: &str = if matches!(DRIVER, Driver::Tokio) { "tokio=1" } else { "tokio=0" };

pub(crate) fn prober(place: &TestEndpoint, words: &[&str]) -> Command {
    let mut command = Command::new(PROBER);
    command.arg(&place.identity_file).args(words).arg(TOKIO);
    command
}

/// Returns whether the digests of the program of `place` may be remembered; if not, prints that the test is skipped.
pub(crate) fn is_remembered(place: &TestEndpoint) -> bool {
    // ext2 and its successors, XFS, Btrfs, F2FS, bcachefs.
    const REMEMBERED: [u64; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0xCA45_1A4E];
    let magic = rustix::fs::statfs(&place.program).unwrap().f_type.cast_unsigned() & 0xFFFF_FFFF;
    let remembered = REMEMBERED.contains(&magic);
    if !remembered {
        eprintln!("skipped: nothing is remembered of {}, a file system {magic:#x}", place.program.display());
    }
    remembered
}

/// Returns whether this test may become other users; if not, prints that it is skipped.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can run processes of other users");
    }
    root
}

/// Returns a command that runs another in a pid namespace of its own, if this system permits that.
pub(crate) fn unshared() -> Option<Command> {
    let flags: &[&str] = if rustix::process::geteuid().is_root() {
        &["--pid", "--fork", "--kill-child", "--mount-proc"]
    } else {
        &["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    };
    let mut tried = Command::new("unshare");
    let output = tried.args(flags).arg("true").output();
    if !output.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {tried:?} gives {output:?}");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(flags);
    Some(command)
}
