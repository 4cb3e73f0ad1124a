//! The blocking server in every interleaving that a model checker tries: the threads' own code, on connections in memory.
//!
//! The model knows no time: nothing times out, and no deadline passes.

mod parts;
pub(crate) mod stream;

use super::conn_loop;
use super::context::Shared;
use super::handler::ConcurrentHandler;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_sdk::model_check::check;
use crate::broker::backend_sdk::model_check::wire::Other;
use crate::broker::backend_sdk::mux::{BackendEndpointMux, LegacyClassification};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::budget::{Account, Budget};
use crate::broker::backend_sdk::server::config::{ServeError, ServerConfig};
use crate::broker::backend_sdk::server::handler::Handler;
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::policy::Service;
use crate::broker::backend_sdk::server::sync::thread;
use crate::broker::backend_sdk::server::telemetry::Telemetry;
use crate::broker::backend_sdk::server::telemetry::stats::ServerStats;
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{self, Endpoint, FrameKind, FrameRef};
use crate::transport::StopSignal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stream::LocalStream;

const WORK: u32 = 0xF00D;

struct Model {
    shared: Arc<Shared>,
    troubles: Arc<Mutex<Vec<String>>>,
}

fn daemon() -> DaemonProcess {
    let daemon = protocol::DaemonProcess {
        pid: 7,
        exe_path: "/bin/d".into(),
        exe_sha256: vec![1; 32],
        boot_id: "b".into(),
        ipc_endpoint: Some(Endpoint { namespace_id: "model".into(), path: "/m".into() }),
        ..Default::default()
    };
    daemon.try_into().expect("every field is there")
}

impl Model {
    fn new(handler: Arc<ConcurrentHandler>, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let model = Self::unidentified(handler, change);
        model.shared.service.mux.identify(Some(daemon()));
        model
    }

    fn unidentified(handler: Arc<ConcurrentHandler>, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        config.drain_timeout = Duration::MAX;
        change(&mut config);
        let troubles = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&troubles);
        let observer = move |trouble: &ServeError, _: Option<&PeerCredentials>| {
            told.lock().expect("no panics").push(trouble.to_string());
        };
        let telemetry = Telemetry::begin(ServerStats::zero(), Box::new(observer), Instant::now, &[WORK]);
        let service = Service {
            mux: Arc::new(BackendEndpointMux::unidentified(
                &[WORK],
                Box::new(|_: &[u8]| LegacyClassification::NotLegacy) as _,
            )),
            handlers: BTreeMap::from([(WORK, Handler::Concurrent(handler))]),
            authorize: Box::new(|_| Ok(())),
            telemetry,
            budget: Budget::new(config.memory_limit, config.max_connections),
            config,
        };
        let signal = StopSignal::new().expect("a pipe");
        Self { shared: Arc::new(Shared::new(service, None, signal)), troubles }
    }

    fn connect(&self, id: u64) -> Arc<Peer> {
        let (stream, peer) = LocalStream::pair();
        conn_loop::start(&self.shared, id, stream).expect("there is room");
        Arc::new(Peer(peer))
    }

    /// Everything has come to its end, and nothing was held against anybody.
    fn end(self) {
        assert_eq!(self.shared.drain(None), 0, "every connection ends");
        self.shared.pool.close();
        assert_eq!(*self.troubles.lock().expect("no panics"), [""; 0]);
    }
}

/// The client's end of a connection.
struct Peer(Other);

impl Peer {
    fn send(&self, kind: FrameKind, ids: impl IntoIterator<Item = u64>) {
        self.send_frames(
            ids.into_iter().map(|id| FrameRef { kind: kind.into(), ..FrameRef::request(WORK, id, b"x") }),
        );
    }

    fn send_frames<'a>(&self, frames: impl IntoIterator<Item = FrameRef<'a>>) {
        let mut wire = Vec::new();
        for frame in frames {
            frame.encode_framed(&mut wire).expect("a small frame");
        }
        self.0.send(&wire);
    }

    /// The next `count` frames: kind, request id and whether it is a refusal.
    fn receive(&self, count: usize) -> Vec<(i32, u64, bool)> {
        let frames = self.0.receive(count);
        frames.iter().map(|frame| (frame.kind, frame.request_id, frame.payload_protocol != WORK)).collect()
    }
}

const RESPONSE: i32 = FrameKind::Response as i32;

fn echo() -> Arc<ConcurrentHandler> {
    Arc::new(|request| Ok(request.payload().to_vec().into()))
}

#[test]
fn every_request_is_answered_once_within_the_limit_and_the_connection_ends() {
    check(|| {
        let model = Model::new(echo(), |config| {
            config.connection.max_in_flight = 2;
            config.send_high_water = 40;
        });
        let peer = model.connect(1);
        let sender = Arc::clone(&peer);
        let sending = thread::spawn(move || {
            sender.send(FrameKind::Request, [1, 2]);
            sender.send(FrameKind::Request, [3, 4]);
            sender.0.end();
        });
        let mut answers = peer.receive(4);
        answers.sort_unstable();
        assert_eq!(answers, [1, 2, 3, 4].map(|id| (RESPONSE, id, false)));
        sending.join().expect("it has sent");
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn a_stop_loses_no_request_that_was_received() {
    check(|| {
        let model = Model::new(echo(), |config| config.connection.max_in_flight = 1);
        let peers = [model.connect(1), model.connect(2)];
        for peer in &peers {
            peer.send(FrameKind::Request, [1, 2]);
        }
        model.shared.stop();
        for peer in &peers {
            assert_eq!(peer.receive(2), [(RESPONSE, 1, false), (RESPONSE, 2, false)]);
        }
        model.end();
        assert!(peers.iter().all(|peer| peer.0.is_over()));
    });
}

#[test]
fn a_peer_that_goes_ends_its_handlers_and_nobody_elses() {
    let until_cancelled: Arc<ConcurrentHandler> = Arc::new(|request| {
        match request.frame().request_id {
            1 => {
                let _reason = request.cancellation().wait(None);
            }
            _ => assert_eq!(request.cancelled(), None),
        }
        Ok(Payload::default())
    });
    check(move || {
        let model = Model::new(Arc::clone(&until_cancelled), |_| {});
        let (goes, stays) = (model.connect(1), model.connect(2));
        let going = thread::spawn(move || {
            goes.send(FrameKind::Request, [1]);
            goes.0.go();
        });
        stays.send(FrameKind::Request, [2]);
        assert_eq!(stays.receive(1), [(RESPONSE, 2, false)]);
        stays.0.end();
        going.join().expect("it is gone");
        model.end();
    });
}

#[test]
fn a_cancel_meets_its_call_wherever_that_is_and_one_last_frame_tells() {
    let impatient: Arc<ConcurrentHandler> = Arc::new(|request| {
        let _reason = request.cancellation().wait(None);
        Ok(Payload::default())
    });
    check(move || {
        let model = Model::new(Arc::clone(&impatient), |_| {});
        let peer = model.connect(1);
        peer.send(FrameKind::Request, [1, 2]);
        peer.send(FrameKind::Cancel, [2, 1]);
        let mut answers = peer.receive(2);
        answers.sort_unstable();
        assert_eq!(answers, [(RESPONSE, 1, true), (RESPONSE, 2, true)]);
        peer.0.end();
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn events_keep_their_order_and_come_before_their_answer_although_the_output_is_full() {
    let streaming: Arc<ConcurrentHandler> = Arc::new(|request| {
        for _ in 0..3 {
            request.send_event(b"event")?;
        }
        Ok(b"end".into())
    });
    check(move || {
        let model = Model::new(Arc::clone(&streaming), |config| config.send_high_water = 1);
        let peer = model.connect(1);
        peer.send(FrameKind::Request, [1, 2]);
        peer.0.end();
        let frames = peer.receive(8);
        for id in [1, 2] {
            let kinds: Vec<_> = frames.iter().filter(|frame| frame.1 == id).map(|frame| frame.0).collect();
            assert_eq!(kinds, [2, 2, 2, RESPONSE]);
        }
        model.end();
        assert!(peer.0.is_over());
    });
}

/// A request, a probe behind it, and a request behind that.
fn send_around_a_probe(peer: &Peer) {
    let request = |id| FrameRef::request(WORK, id, b"x");
    let probe = FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, 2, &[7; 32]);
    peer.send_frames([request(1), probe, request(3)]);
    peer.0.end();
}

#[test]
fn a_probe_and_what_is_behind_it_are_answered_whenever_the_identity_comes() {
    check(|| {
        let model = Model::unidentified(echo(), |_| {});
        let peer = model.connect(1);
        let shared = Arc::clone(&model.shared);
        let identifying = thread::spawn(move || {
            shared.service.mux.identify(Some(daemon()));
            shared.identified();
        });
        send_around_a_probe(&peer);
        let mut answers = peer.receive(3);
        answers.sort_unstable();
        assert_eq!(answers, [(RESPONSE, 1, false), (RESPONSE, 2, true), (RESPONSE, 3, false)]);
        identifying.join().expect("it has told");
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn who_waits_for_an_identity_that_never_comes_is_let_go_and_calls_are_answered() {
    check(|| {
        let model = Model::unidentified(echo(), |_| {});
        let peer = model.connect(1);
        send_around_a_probe(&peer);
        let shared = Arc::clone(&model.shared);
        let failing = thread::spawn(move || {
            shared.stop();
            shared.service.mux.identify(None);
            shared.identified();
        });
        assert_eq!(peer.receive(1), [(RESPONSE, 1, false)]);
        failing.join().expect("it has told");
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn who_asks_for_too_much_memory_takes_none_from_others_not_even_for_a_moment() {
    check(|| {
        // Half of it is one connection's own.
        let budget = Arc::new(Budget::new(100, 1));
        let greedy = Arc::clone(&budget);
        let asking = thread::spawn(move || {
            assert!(!greedy.settle(&mut Account::default(), 101, true));
        });
        let mut modest = Account::default();
        assert!(budget.settle(&mut modest, 100, true));
        assert!(budget.settle(&mut modest, 0, true));
        asking.join().expect("it was refused");
    });
}
