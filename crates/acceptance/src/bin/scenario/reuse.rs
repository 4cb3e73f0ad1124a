//! A pid that is reused by the same executable.

use running_process::broker::backend_handle::{BackendHandle, BackendHandleError, DaemonProcess};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::FrameClient;
use running_process_acceptance::wire::SHOUT;
use running_process_acceptance::{Peer, SECRET, TOKEN, TestEndpoint, sibling, soon};
use std::process::Command;

/// Makes the next process in this namespace get `pid`, if that is free.
pub(crate) fn make_next(pid: u32) -> std::io::Result<()> {
    std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
}

/// Returns the path of the program `peer`, which is beside this one.
pub(crate) fn peer_program() -> std::path::PathBuf {
    sibling(std::env::current_exe().unwrap().to_str().unwrap(), "peer")
}

/// Returns the time at which the kernel started `pid`, in clock ticks.
fn start_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(22 - 3).unwrap().parse().unwrap()
}

/// Starts a process with the pid of `before`, which has ended, and another start time.
fn start_as(before: &DaemonProcess, command: &mut Command) -> Peer {
    let deadline = soon();
    loop {
        make_next(before.pid).unwrap();
        let mut peer = Peer::start(command);
        let recorded = before.origin.as_ref().unwrap().start_time;
        if peer.pid() == before.pid && start_time(peer.pid()) != recorded {
            return peer;
        }
        end(&mut peer);
        assert!(std::time::Instant::now() < deadline, "{} cannot be had", before.pid);
    }
}

fn end(peer: &mut Peer) {
    peer.kill();
    peer.reap();
}

fn verify(expected: &DaemonProcess, policy: Policy) -> String {
    match BackendHandle::verify(expected, policy, soon()) {
        Ok(handle) => {
            let with_origin = handle.proof().with_origin;
            format!("accepted origin={with_origin} {}", ask(handle.into_client()))
        }
        Err(error) => describe(&error),
    }
}

/// Returns which process answers a request.
fn ask(mut client: FrameClient) -> &'static str {
    let answer = client.request(SHOUT, SECRET.to_vec()).unwrap().payload;
    if answer.starts_with(TOKEN.as_bytes()) { "genuine" } else { "FOOLED" }
}

fn describe(error: &ProbeError) -> String {
    let text = format!("{error:?}");
    text.split_once(['{', '(']).map_or(&text[..], |(name, _)| name).trim().to_owned()
}

pub(crate) fn run() {
    let place = TestEndpoint::new(peer_program());
    for only_credentials in [false, true] {
        let mode = if only_credentials { "credentials" } else { "pidfd" };
        let policy = |mut policy: Policy| {
            policy.only_credentials = only_credentials;
            policy
        };
        let say = |name: &str, verdict: String| println!("{mode} {name}: {verdict}");
        let with = |expected: &DaemonProcess| verify(expected, policy(Policy::default()));

        let mut first = place.start("genuine");
        let old = place.identity();
        say("the first daemon", with(&old));
        end(&mut first);
        say("no process", with(&old));

        let mut second = start_as(&old, &mut place.command("genuine"));
        let new = place.identity();
        assert_eq!((new.pid, &new.ipc_endpoint), (old.pid, &old.ipc_endpoint));
        say("old identity file, restarted daemon", with(&old));
        say("old identity file, restarted daemon, lenient", verify(&old, policy(Policy::lenient())));
        say("new identity file, restarted daemon", with(&new));
        // A published peer's identity file has nothing that tells the two apart: that is a lower proof, and visible.
        let mut published = old.clone();
        published.origin = None;
        say("published identity file, restarted daemon", with(&published));
        say(
            "published identity file, restarted daemon, strict",
            verify(&published, policy(Policy::strict())),
        );
        end(&mut second);

        let mut replay = start_as(&new, &mut place.command("replay"));
        say("replay by the same pid", with(&new));
        say("replay by the same pid, lenient", verify(&new, policy(Policy::lenient())));
        end(&mut replay);

        let elsewhere = TestEndpoint::new(&place.program);
        let mut bystander = start_as(&new, &mut elsewhere.command("genuine"));
        say("the pid without the socket", with(&new));
        let replay = place.start("replay");
        say("the pid without the socket, an impostor with it", with(&new));
        end(&mut bystander);
        drop(replay);

        earlier_life(policy(Policy::default()), say);
    }
}

/// Verifies a daemon with the pid of a process that listened, left its socket to a child, and ended.
fn earlier_life(policy: Policy, say: impl Fn(&str, String)) {
    let [place, elsewhere] = [(); 2].map(|()| TestEndpoint::new(peer_program()));
    let mut earlier = Command::new(&place.program);
    earlier.arg("leave-to-child").args([&elsewhere.socket, &place.identity_file]);
    let mut earlier = Peer::start(&mut earlier);
    earlier.reap();
    make_next(earlier.pid()).unwrap();
    let genuine = place.start("genuine");
    assert_eq!(genuine.pid(), earlier.pid());
    let identity = place.identity();
    let handle = BackendHandle::verify(&identity, policy.clone(), soon()).unwrap();
    std::fs::rename(&elsewhere.socket, &place.socket).unwrap();
    say("a socket of an earlier life of the pid", verify(&identity, policy));
    let connected = match handle.connect() {
        Ok(stream) => format!("accepted {}", ask(FrameClient::from_stream(stream))),
        Err(BackendHandleError::Probe(error)) => describe(&error),
        Err(error) => panic!("{error:?}"),
    };
    say("a further connection to a socket of an earlier life of the pid", connected);
    say("the connection that was verified before", ask(handle.into_client()).to_owned());
}
