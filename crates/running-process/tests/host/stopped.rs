//! A process that is stopped while its deadlines pass, as by a debugger or a machine that sleeps. Bytes that its peer sent in
//! time count once it continues.

use crate::daemon::Daemon;
use crate::frame_client::peer::{Client, Peer};
use crate::support::{
    ChildProcess, REVERSE, SHOUT, eventually, read, read_frames, request, soon, test_command, watched, write,
};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::{
    endpoint_probe_request_from_frame, endpoint_probe_response_frame, probe_endpoint,
};
use running_process::broker::backend_lifecycle::verify::{ImageCheck, Policy, verify};
use running_process::broker::backend_sdk::{FrameClient, LocalStream, ServerConfig};
use running_process::broker::protocol::{Endpoint, FRAME_HEADER_BYTES};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

/// Deadline long enough for the process to be stopped before it passes.
const DEADLINE: Duration = Duration::from_secs(2);

const ENDPOINT: &str = "TEST_STOPPED_ENDPOINT";
const IDENTITY: &str = "TEST_STOPPED_IDENTITY";

/// A test of this binary in a process of its own.
struct Process(ChildProcess);

impl Process {
    fn start(test: &str, endpoint: &Endpoint, identity: &str) -> Self {
        let mut command = test_command(test);
        command.env(ENDPOINT, &endpoint.path).env(IDENTITY, identity);
        Self(ChildProcess::spawn(&mut command))
    }

    /// Stops the process, calls `meanwhile`, and continues the process once a deadline that began before has passed.
    fn stop_past_the_deadline<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT).unwrap().unwrap();
        let passed = Instant::now() + DEADLINE;
        let done = meanwhile();
        thread::sleep(passed.saturating_duration_since(Instant::now()));
        kill_process(pid, Signal::CONT).unwrap();
        done
    }
}

fn private_endpoint(directory: &tempfile::TempDir) -> Endpoint {
    Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap()).unwrap()
}

/// Returns the endpoint that [`Process::start`] gave to this process.
fn given_endpoint() -> Endpoint {
    Endpoint::unix_socket("test", std::env::var(ENDPOINT).unwrap()).unwrap()
}

macro_rules! servers {
    ($($module:ident, $driver:ty;)*) => {$(
        mod $module {
            #[test]
            fn a_server_that_was_stopped_takes_what_came_in_time() {
                super::requests_of_a_stopped_server_are_answered(&format!("{}::serves", module_path!()));
            }

            #[test]
            #[ignore = "a process of its own"]
            fn serves() {
                super::serve::<$driver>();
            }
        }
    )*};
}

#[cfg(any())]
servers! {
    blocking, crate::daemon::Blocking;
}
servers! {
    own_event_loop, crate::daemon::OwnEventLoop;
}
#[cfg(feature = "tokio")]
servers! {
    on_tokio, crate::daemon::MultiThread;
    on_one_thread_of_tokio, crate::daemon::CurrentThread;
}

fn serve<D: Daemon>() {
    let mut config = ServerConfig::default();
    config.connection.first_message_timeout = DEADLINE;
    config.connection.message_timeout = DEADLINE;
    config.connection.probed_timeout = DEADLINE;
    config.connection.idle_timeout = Some(DEADLINE);
    config.write_timeout = DEADLINE;
    let server = D::bind(given_endpoint()).unwrap().config(config);
    let server = server.serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()));
    server.serve_inline(REVERSE, |request| Ok(vec![7; request.payload().len() << 10])).run().unwrap();
}

fn requests_of_a_stopped_server_are_answered(test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = private_endpoint(&directory);
    let test = test.split_once("::").unwrap().1;
    let server = Process::start(test, &endpoint, "");
    eventually(|| probe_endpoint(&endpoint, soon()).ok());
    let connect = || LocalStream::connect(&endpoint.path).unwrap();
    let shout = |id| request(SHOUT, id, b"in time");

    let silent = connect();
    let framed = connect();
    write(&framed, &shout(1));
    read_frames(&framed, 1);
    let halfway = connect();
    let (beginning, rest) = (&shout(2)[..FRAME_HEADER_BYTES + 3], &shout(2)[FRAME_HEADER_BYTES + 3..]);
    write(&halfway, &[&shout(1), beginning].concat());
    read_frames(&halfway, 1);
    // More than a socket takes.
    let large = 4 << 20;
    let slow = connect();
    write(&slow, &request(REVERSE, 3, &vec![0; large >> 10]));
    read(&slow, 1);
    // This connection is accepted behind the silent one.
    let probed = probe_endpoint(&endpoint, soon()).unwrap().stream;

    let read_meanwhile = server.stop_past_the_deadline(|| {
        write(&silent, &shout(1));
        write(&framed, &shout(2));
        write(&halfway, rest);
        write(&probed, &shout(1));
        read(&slow, 64 * 1024).len()
    });
    for connection in [&silent, &framed, &halfway, &probed] {
        assert_eq!(read_frames(connection, 1)[0].payload, b"IN TIME");
    }
    let rest = watched(move || read(&slow, large - 1 - read_meanwhile));
    assert!(rest.len() > 3 << 20);
}

/// Accepts the next connection and returns the daemon's end.
fn accept(listener: &UnixListener) -> Peer {
    let connection: UnixStream = listener.accept().unwrap().0;
    Peer::new(connection)
}

/// Runs the client test `asks` against a daemon that answers while the client is stopped.
fn the_answer_to_a_stopped_client_counts(asks: &str, probe: Probe) {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = private_endpoint(&directory);
    let listener = UnixListener::bind(&endpoint.path).unwrap();
    let identity = DaemonProcess::current_process(endpoint.clone(), None).unwrap();
    let json = serde_json::to_string(&identity).unwrap();
    let client = Process::start(&format!("stopped::{asks}"), &endpoint, &json);
    let ended = watched(move || {
        let mut peer = accept(&listener);
        let answer = |probe| {
            let probe = endpoint_probe_request_from_frame(&probe).unwrap();
            endpoint_probe_response_frame(&probe, &identity)
        };
        if probe == Probe::AnsweredLate {
            let answer = answer(peer.receive());
            client.stop_past_the_deadline(|| peer.send(&answer));
            return client.0.wait();
        }
        if probe == Probe::Answered {
            let answer = answer(peer.receive());
            peer.send(&answer);
        }
        let request = peer.receive();
        client.stop_past_the_deadline(|| peer.answer(&request));
        client.0.wait()
    });
    assert!(ended.success(), "{ended}");
}

/// The first exchange of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    None,
    Answered,
    AnsweredLate,
}

fn given_identity() -> DaemonProcess {
    serde_json::from_str(&std::env::var(IDENTITY).unwrap()).unwrap()
}

/// Returns a policy without digests: the daemon runs the same executable.
fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.image = ImageCheck::SameAsCaller;
    policy
}

fn ask<C: Client>() {
    let mut client = C::connect(&given_endpoint()).unwrap();
    assert_eq!(client.request_within(b"in time", DEADLINE).unwrap().payload, b"IN TIME");
}

macro_rules! clients {
    ($($test:ident, $asks:ident, $probe:ident, $ask:expr;)*) => {$(
        #[test]
        fn $test() {
            the_answer_to_a_stopped_client_counts(stringify!($asks), Probe::$probe);
        }

        #[test]
        #[ignore = "a process of its own"]
        fn $asks() {
            $ask
        }
    )*};
}

clients! {
    a_blocking_client_that_was_stopped_takes_the_answer, asks_blocking, None, ask::<FrameClient>();
    a_proof_takes_the_answer_that_came_while_it_was_stopped, proves, AnsweredLate, {
        verify(&given_identity(), &policy(), Instant::now() + DEADLINE).map_err(|unverified| unverified.error).unwrap();
    };
}

#[cfg(feature = "tokio")]
use {
    crate::frame_client::peer::OnTokio,
    running_process::broker::backend_lifecycle::verify::verify_async,
    running_process::broker::backend_sdk::{ReconnectConfig, ReconnectingClient},
    tokio::runtime::{Builder, Runtime},
};

#[cfg(feature = "tokio")]
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[cfg(feature = "tokio")]
clients! {
    an_asynchronous_client_that_was_stopped_takes_the_answer, asks_on_tokio, None, ask::<OnTokio>();
    a_reconnecting_client_that_was_stopped_takes_the_answer, asks_reconnecting, Answered, {
        let mut reconnect = ReconnectConfig::default();
        reconnect.policy = policy();
        let client = ReconnectingClient::with_identities(|| Ok(Some(given_identity())), reconnect);
        let deadline = Instant::now() + DEADLINE;
        let response = runtime().block_on(client.request_deadline(SHOUT, b"in time".to_vec(), deadline));
        assert_eq!(response.unwrap().payload, b"IN TIME");
    };
    a_proof_on_tokio_takes_the_answer_that_came_while_it_was_stopped, proves_on_tokio, AnsweredLate, {
        let proof = async { verify_async(&given_identity(), &policy(), Instant::now() + DEADLINE).await };
        runtime().block_on(proof).map_err(|unverified| unverified.error).unwrap();
    };
}
