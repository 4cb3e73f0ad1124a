//! A race: the process at the socket changes all the time, while others verify it.
//!
//! Each run of the genuine daemon has a token that no other process knows. Every answer on a verified connection must
//! begin with the token of the expected run. While nothing is changed, the genuine daemon must be accepted.

use crate::reuse::{make_next, peer_program};
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{Policy, ProofLevel};
use running_process::broker::backend_sdk::FrameClient;
use running_process_acceptance::wire::SHOUT;
use running_process_acceptance::{Peer, SECRET, TEST_TIMEOUT, TestEndpoint, soon};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

const PROBERS: usize = 2;

/// One run of the genuine daemon.
struct Run {
    identity: DaemonProcess,
    token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtSocket {
    Genuine,
    Impostor,
}

struct World {
    /// The number of the epoch; even while nothing changes.
    epoch: u64,
    current: Arc<Run>,
    at_socket: AtSocket,
    /// Runs that had ended before they were added here.
    ended: Vec<Arc<Run>>,
    /// The epoch in which each prober's last complete pass began.
    passed: [u64; PROBERS],
    outcomes: BTreeMap<String, u64>,
    wrong: Vec<String>,
    over: bool,
}

struct Shared {
    world: Mutex<World>,
    pass: Condvar,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

/// A `SplitMix64` generator: the same seed gives the same choices.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

pub(crate) fn run(seed: u64, rounds: u64) {
    let place = TestEndpoint::new(peer_program());
    let (mut genuine, first) = start(&place, 0, None);
    let kept_genuine = place.path("genuine");
    fs::hard_link(&place.socket, &kept_genuine).unwrap();
    let kept_impostor = place.path("impostor");
    let impostor = place.start("replay");
    let impostor_pid = impostor.pid();
    fs::rename(&place.socket, &kept_impostor).unwrap();
    put(&kept_genuine, &place.socket);

    let shared = Shared {
        world: Mutex::new(World {
            epoch: 0,
            current: first,
            at_socket: AtSocket::Genuine,
            ended: Vec::new(),
            passed: [0; PROBERS],
            outcomes: BTreeMap::new(),
            wrong: Vec::new(),
            over: false,
        }),
        pass: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for prober in 0..PROBERS {
            let shared = &shared;
            let mut random = Random(seed ^ (prober as u64 + 1));
            scope.spawn(move || while pass(shared, prober, impostor_pid, &mut random) {});
        }
        let mut random = Random(seed);
        for round in 1..=rounds {
            shared.world().epoch += 1;
            let at_socket = shared.world().at_socket;
            let (next, started) = match random.below(8) {
                0..3 => (AtSocket::Impostor, None),
                3..5 => (AtSocket::Genuine, None),
                choice => {
                    let before = genuine.pid();
                    genuine.kill();
                    genuine.reap();
                    let ended = Arc::clone(&shared.world().current);
                    shared.world().ended.push(ended);
                    let same_pid = (choice != 5).then_some(before);
                    if at_socket == AtSocket::Impostor {
                        fs::remove_file(&place.socket).unwrap();
                    }
                    let (started, run) = start(&place, round, same_pid);
                    genuine = started;
                    fs::remove_file(&kept_genuine).unwrap();
                    fs::hard_link(&place.socket, &kept_genuine).unwrap();
                    (if choice == 7 { AtSocket::Impostor } else { AtSocket::Genuine }, Some(run))
                }
            };
            put(if next == AtSocket::Genuine { &kept_genuine } else { &kept_impostor }, &place.socket);
            let mut world = shared.world();
            world.at_socket = next;
            if let Some(run) = started {
                world.current = run;
            }
            world.epoch += 1;
            // Sometimes all probers see it, sometimes not.
            if random.below(2) == 0 {
                wait_for_passes(&shared, world);
            }
        }
        shared.world().over = true;
    });
    let world = shared.world();
    for (outcome, times) in &world.outcomes {
        println!("{times} times {outcome}");
    }
    for wrong in &world.wrong {
        println!("wrong: {wrong}");
    }
    println!("rounds {rounds}");
}

/// Moves the socket at `kept` to `socket`, in one step.
fn put(kept: &Path, socket: &Path) {
    let beside = socket.with_extension("beside");
    fs::hard_link(kept, &beside).unwrap();
    fs::rename(&beside, socket).unwrap();
    // If both are names of one file, the rename does nothing.
    let _ = fs::remove_file(&beside);
}

fn start(place: &TestEndpoint, round: u64, same_pid: Option<u32>) -> (Peer, Arc<Run>) {
    let token = format!("run {round},");
    if let Some(pid) = same_pid {
        // Outside of a namespace of its own the pid is left to chance.
        let _ = make_next(pid);
    }
    let peer = Peer::start(place.command("genuine").arg(&token));
    let identity = place.identity();
    assert_eq!(identity.pid, peer.pid());
    (peer, Arc::new(Run { identity, token }))
}

fn wait_for_passes(shared: &Shared, world: MutexGuard<'_, World>) {
    let epoch = world.epoch;
    let (_world, waited) = shared
        .pass
        .wait_timeout_while(world, TEST_TIMEOUT, |world| world.passed.iter().any(|passed| *passed < epoch))
        .unwrap();
    assert!(!waited.timed_out(), "the probers hang");
}

/// Makes one verification, and returns whether there is to be another one.
fn pass(shared: &Shared, prober: usize, impostor: u32, random: &mut Random) -> bool {
    let (epoch, run, ended, at_socket) = {
        let world = shared.world();
        if world.over {
            return false;
        }
        let old = world.ended.len() as u64;
        let ended = old > 0 && random.below(4) == 0;
        let run = if ended {
            // Mostly the last runs, whose pids are most likely to be reused.
            let back = random.below(old.min(3));
            &world.ended[usize::try_from(old - 1 - back).unwrap()]
        } else {
            &world.current
        };
        (world.epoch, Arc::clone(run), ended, world.at_socket)
    };
    let mut policy = match random.below(4) {
        0 => Policy::lenient(),
        1 => Policy::strict(),
        _ => Policy::default(),
    };
    policy.only_credentials = policy.weakest < ProofLevel::Held && random.below(2) == 0;
    let again = random.below(2) == 0;
    let verified = BackendHandle::verify(&run.identity, policy, soon());
    let unchanged = {
        let world = shared.world();
        world.epoch == epoch && epoch.is_multiple_of(2)
    };
    let outcome = match &verified {
        Ok(_) => "accepted".to_owned(),
        Err(error) => describe(error),
    };
    let mut wrong = match &verified {
        Ok(_) if ended => Some("a run that had ended was accepted".to_owned()),
        Ok(_) if unchanged && at_socket == AtSocket::Impostor => {
            Some("accepted although an impostor stands at the socket".to_owned())
        }
        Err(error) if unchanged && !ended && at_socket == AtSocket::Genuine => {
            Some(format!("the genuine daemon was refused: {error:?}"))
        }
        Err(ProbeError::Impostor { pid, .. }) if unchanged && !ended && *pid != impostor => {
            Some(format!("process {impostor} is the impostor, named was {pid:?}"))
        }
        Err(error) if unchanged && !ended && !matches!(error, ProbeError::Impostor { .. }) => {
            Some(format!("an impostor was refused for another reason: {error:?}"))
        }
        Err(
            error @ (ProbeError::TimedOut
            | ProbeError::NotInspectable { .. }
            | ProbeError::OtherNamespace { .. }
            | ProbeError::Stream(_)),
        ) => Some(format!("refused for a reason that there cannot be: {error:?}")),
        _ => None,
    };
    if let Ok(handle) = verified {
        let further = again.then(|| handle.connect());
        let streams = std::iter::once(Ok(handle.into_stream())).chain(further);
        for stream in streams.flatten() {
            let mut client = FrameClient::from_stream(stream);
            client.set_timeout(Some(Duration::from_secs(5)));
            // The daemon may have been killed by now, but no other process may have received this.
            if let Ok(answer) = client.request(SHOUT, SECRET.to_vec())
                && !answer.payload.starts_with(run.token.as_bytes())
            {
                let answer = String::from_utf8_lossy(&answer.payload).into_owned();
                wrong = Some(format!("{} was expected, {answer:?} was heard", run.token));
            }
        }
    }
    let mut world = shared.world();
    let of = if ended { "an ended run" } else { "the current run" };
    let moving = if unchanged { "at rest" } else { "in motion" };
    *world.outcomes.entry(format!("{outcome}, {of}, {moving}")).or_default() += 1;
    world.wrong.extend(wrong.map(|wrong| format!("epoch {epoch}: {wrong}")));
    world.passed[prober] = epoch;
    shared.pass.notify_all();
    true
}

fn describe(error: &ProbeError) -> String {
    let text = format!("{error:?}");
    text.split_once([' ', '(']).map_or(&text[..], |(name, _)| name).to_owned()
}
