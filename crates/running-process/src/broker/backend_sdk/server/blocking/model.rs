//! The blocking server in each interleaving that a model checker tries: the threads' own code, on connections in memory.
//!
//! The model knows no time. A handler is quick or slow, a connection is adopted or not, and a read of an adopted connection
//! times out or not, by chance.

mod cases;
mod parts;
mod relief;
pub(crate) mod stream;

use super::accept;
use super::adaptive::LatencyEstimate;
use super::conn::Context;
use super::handler::{BlockingHandler, ServerRequest};
use super::poller::Poller;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_sdk::model_check::check;
use crate::broker::backend_sdk::model_check::wire::Other;
use crate::broker::backend_sdk::mux::{BackendEndpointMux, LegacyClassification};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::budget::Budget;
use crate::broker::backend_sdk::server::config::{ServeError, ServerConfig};
use crate::broker::backend_sdk::server::handler::{Handler, HandlerError};
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::phase::Phase;
use crate::broker::backend_sdk::server::policy::ServerPolicy;
use crate::broker::backend_sdk::server::shutdown::Shutdown;
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::backend_sdk::server::telemetry::Telemetry;
use crate::broker::backend_sdk::server::telemetry::stats::ServerStats;
use crate::broker::protocol::{self, Endpoint, FrameKind, FrameRef};
use crate::transport::StopSignal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stream::LocalStream;

/// Protocol of the concurrent handler.
const WORK: u32 = 0xF00D;
/// Protocol of an inline handler that answers with the payload.
const INLINE: u32 = 0xF00E;

/// The way in which connections are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One thread polls all, and another one may adopt a connection.
    Poller,
    /// A thread reads each, as on Windows.
    ThreadEach,
}

/// Checks `model` in both modes.
fn check_modes(model: impl Fn(Mode) + Send + Sync + 'static) {
    let model = Arc::new(model);
    for mode in [Mode::Poller, Mode::ThreadEach] {
        let model = Arc::clone(&model);
        check(move || model(mode));
    }
}

struct Model {
    context: Arc<Context>,
    mode: Mode,
    errors: Arc<Mutex<Vec<String>>>,
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
    fn new(
        mode: Mode,
        serve: impl Fn(&ServerRequest) -> Result<Payload, HandlerError> + Send + Sync + 'static,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let model = Self::unidentified(mode, serve, change);
        model.context.policy.mux.identify(Some(daemon()));
        model
    }

    fn unidentified(
        mode: Mode,
        serve: impl Fn(&ServerRequest) -> Result<Payload, HandlerError> + Send + Sync + 'static,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let model = Self::unpolled(mode, serve, change);
        if mode == Mode::Poller {
            model.context.start_poller().expect("a thread");
        }
        model
    }

    /// Returns a server that is not identified, and whose connections no thread polls yet.
    fn unpolled(
        mode: Mode,
        serve: impl Fn(&ServerRequest) -> Result<Payload, HandlerError> + Send + Sync + 'static,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let mut config = ServerConfig::default();
        change(&mut config);
        let errors = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&errors);
        let observer = move |error: &ServeError, _: Option<&PeerCredentials>| {
            told.lock().expect("no panics").push(error.to_string());
        };
        let handler = BlockingHandler {
            serve: Box::new(move |request| serve(&request)),
            latency: LatencyEstimate::unknown(),
        };
        let policy = ServerPolicy {
            mux: Arc::new(BackendEndpointMux::unidentified(
                &[WORK, INLINE],
                Box::new(|_: &[u8]| LegacyClassification::NotLegacy) as _,
            )),
            handlers: BTreeMap::from([
                (WORK, Handler::Concurrent(Arc::new(handler))),
                (INLINE, Handler::Inline(Box::new(|request| Ok(request.payload().to_vec().into())))),
            ]),
            authorize: Box::new(|_| Ok(())),
            telemetry: Telemetry::begin(
                ServerStats::zero(),
                Box::new(observer),
                Instant::now,
                &[WORK, INLINE],
            ),
            budget: Budget::new(config.memory_limit, config.max_connections),
            config,
            _signals: None,
            lifecycle: None,
        };
        let poller = match mode {
            Mode::Poller => Poller::new().expect("the model has one"),
            Mode::ThreadEach => None,
        };
        let signal = StopSignal::new().expect("a pipe");
        let (policy, stop) = (Arc::new(policy), ServerStop::default());
        let context = Arc::new(Context::new(policy, None, poller, signal, stop, None, Context::relieve));
        Self { context, mode, errors }
    }

    fn connect(&self) -> Arc<Peer> {
        let (stream, peer) = LocalStream::pair(self.mode == Mode::Poller);
        accept::serve(&self.context, stream, Phase::Serving).expect("there is room");
        Arc::new(Peer(peer))
    }

    /// Begins to drain.
    fn stop(&self) {
        self.context.enter(Phase::Draining);
    }

    /// Waits until each connection has ended, and checks that no error was reported.
    fn end(self) {
        assert_eq!(self.end_with_errors(), [""; 0]);
    }

    /// Waits until each connection has ended; returns the errors that were reported.
    fn end_with_errors(self) -> Vec<String> {
        assert_eq!(
            self.context.shut_down(Shutdown::begin(Instant::now(), Duration::MAX, &self.context.stop)),
            0
        );
        std::mem::take(&mut *self.errors.lock().expect("no panics"))
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

    /// Returns the next `count` frames: kind, request id and whether it is a refusal.
    fn receive(&self, count: usize) -> Vec<(i32, u64, bool)> {
        let frames = self.0.receive(count);
        let is_answer = |protocol| protocol == WORK || protocol == INLINE;
        frames
            .iter()
            .map(|frame| (frame.kind, frame.request_id, !is_answer(frame.payload_protocol)))
            .collect()
    }
}

const RESPONSE: i32 = FrameKind::Response as i32;

fn echo(request: &ServerRequest) -> Result<Payload, HandlerError> {
    Ok(request.payload().to_vec().into())
}
