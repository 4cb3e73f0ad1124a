//! Memory that a daemon can make its clients use. Each client is a process of its own, which measures itself.
#![cfg(target_os = "linux")]

use crate::daemon::{Blocking, Daemon};
use crate::frame_client::peer::{Client, Peer, Take, event, event_of};
use crate::support::{SHOUT, TestServer, in_child_process, process_memory, watched};
use running_process::broker::backend_sdk::{
    FrameClient, FrameClientError, MAX_WAITING_EVENT_BYTES, RequestOptions,
};
use running_process::broker::protocol::{EncodingPolicy, Endpoint, Frame, MAX_FRAME_BYTES};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

const MIB: usize = 1024 * 1024;

/// Protocol whose handler sends as many events of 1 MiB as the payload says, and then answers.
const EVENTS: u32 = 0xF00F;

const ENDPOINT: &str = "TEST_CLIENT_MEMORY_ENDPOINT";
const RECORD: &str = "TEST_CLIENT_MEMORY_RECORD";

/// Returns the peak resident memory of this process, in bytes.
fn peak() -> usize {
    process_memory("self", "VmHWM")
}

/// Checks that `work` raises the peak by less than `most` bytes.
#[track_caller]
fn costs_less_than(most: usize, what: &str, work: impl FnOnce()) {
    let before = peak();
    work();
    let cost = peak() - before;
    assert!(cost < most, "{what}: {} MiB", cost / MIB);
}

fn given_endpoint() -> Endpoint {
    Endpoint::unix_socket("test", std::env::var(ENDPOINT).unwrap()).unwrap()
}

/// Memory for one frame at a time, with the room to read the next one.
const FRAMES: usize = 4 * MIB;

fn with_events(test: &str) {
    let server = TestServer::<Blocking>::start(|server| {
        server.serve(EVENTS, |request| {
            let event = vec![7; MIB];
            for _ in 0..std::str::from_utf8(request.payload())?.parse::<u32>()? {
                request.send_event(&event)?;
            }
            Ok(b"done".to_vec())
        })
    });
    in_child_process(test, |command| {
        command.env(ENDPOINT, &server.temp.endpoint.path).env(RECORD, server.temp.identity_file());
    });
}

/// Connects a client without encodings, which are slow in an unoptimized build.
fn client<C: Client>() -> C {
    let mut client = C::connect(&given_endpoint()).unwrap();
    client.set_encoding_policy(EncodingPolicy::OFF);
    client
}

fn takes_no_events<C: Client>() {
    let mut client = client::<C>();
    costs_less_than(FRAMES, "800 events of 1 MiB that nobody asked for", || {
        assert_eq!(client.request_of(EVENTS, b"800").unwrap().payload, b"done");
    });
}

/// Floods the client; breaks every rule except those for which the client ends the connection at once.
fn flood(mut peer: Peer) {
    let large = vec![7; MAX_FRAME_BYTES - 64];
    let first = peer.receive();
    for _ in 0..LARGE_FRAMES {
        peer.send(&Frame { payload: large.clone(), ..event(0) });
        peer.send(&Frame::request(SHOUT, large.clone()));
    }
    for number in 0..20_000 {
        peer.send(&event(number).with_request_id(u64::MAX));
    }
    peer.send(&Frame::response_to(&first, large.clone()));
    // Further answers to a request that has been answered.
    let streamed = peer.receive();
    for _ in 0..LARGE_FRAMES {
        peer.send(&Frame::response_to(&first, large.clone()));
    }
    for _ in 0..LARGE_FRAMES {
        peer.send(&event_of(&streamed, large.clone()));
    }
    peer.answer(&streamed);
    // An answer to a request that was never sent.
    let _request = peer.receive();
    peer.send(&Frame::response_to(&first, large).with_request_id(99));
}

fn with_flood(test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let flooding = thread::spawn(move || {
        let connection: UnixStream = listener.accept().unwrap().0;
        flood(Peer::new(connection));
    });
    in_child_process(test, |command| {
        command.env(ENDPOINT, &path);
    });
    watched(move || flooding.join().unwrap());
}

/// Number of large frames: more than the client's bounds admit.
const LARGE_FRAMES: usize = 5;

/// Memory for two frames of 16 MiB: one handed to the caller, and one being read.
const LARGEST: usize = 2 * MAX_FRAME_BYTES + FRAMES;

fn withstands_a_flood<C: Client>() {
    let mut client = client::<C>();
    costs_less_than(LARGEST, "a request", || {
        assert_eq!(client.request(b"x").unwrap().payload.len(), MAX_FRAME_BYTES - 64);
    });
    costs_less_than(LARGEST + MAX_WAITING_EVENT_BYTES, "a stream", || {
        let mut seen = 0;
        let answer = client.stream(b"y", &RequestOptions::new(), |event| {
            seen += event.len();
            Take::More
        });
        assert_eq!(
            (answer.unwrap().unwrap().payload, seen),
            (b"Y".to_vec(), LARGE_FRAMES * (MAX_FRAME_BYTES - 64))
        );
    });
    costs_less_than(LARGEST, "an answer to nothing", || {
        assert!(matches!(client.request(b"z"), Err(FrameClientError::Connection(_))));
    });
}

macro_rules! clients {
    ($($parent:ident, $child:ident, $with:ident, $run:expr;)*) => {$(
        #[test]
        fn $parent() {
            $with(concat!("client_memory::", stringify!($child)));
        }

        #[test]
        #[ignore = "a process of its own"]
        fn $child() {
            $run
        }
    )*};
}

clients! {
    a_blocking_client_keeps_no_events_that_it_was_not_asked_for, blocking_without_events, with_events,
        takes_no_events::<FrameClient>();
    a_flood_costs_a_blocking_client_a_bounded_memory, blocking_in_a_flood, with_flood,
        withstands_a_flood::<FrameClient>();
}

#[cfg(feature = "tokio")]
use {
    crate::frame_client::peer::OnTokio,
    running_process::broker::backend_lifecycle::verify::{ImageCheck, Policy},
    running_process::broker::backend_sdk::{ReconnectConfig, ReconnectingClient},
    tokio::runtime::Builder,
};

#[cfg(feature = "tokio")]
clients! {
    a_client_on_tokio_keeps_no_events_that_it_was_not_asked_for, on_tokio_without_events, with_events,
        takes_no_events::<OnTokio>();
    a_flood_costs_a_client_on_tokio_a_bounded_memory, on_tokio_in_a_flood, with_flood,
        withstands_a_flood::<OnTokio>();
    a_reconnecting_client_keeps_no_events_that_it_was_not_asked_for, reconnecting_without_events, with_events, {
        let mut reconnect = ReconnectConfig::default();
        // Its daemon runs the same executable, so nothing is to be digested.
        reconnect.encodings = EncodingPolicy::OFF;
        reconnect.policy = Policy::default();
        reconnect.policy.image = ImageCheck::SameAsCaller;
        let client = ReconnectingClient::new(std::env::var(RECORD).unwrap(), reconnect);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            client.connection().await.unwrap();
            let before = peak();
            assert_eq!(client.request(EVENTS, b"800".to_vec()).await.unwrap().payload, b"done");
            let mut stream = client.request_streaming(EVENTS, b"100".to_vec()).await.unwrap();
            assert_eq!(stream.next_event().await.unwrap().unwrap().payload.len(), MIB);
            assert_eq!(stream.response().await.unwrap().payload, b"done");
            let cost = peak() - before;
            assert!(cost < FRAMES + MAX_WAITING_EVENT_BYTES, "{} MiB", cost / MIB);
        });
    };
}
