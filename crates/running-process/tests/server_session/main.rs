//! The policy of one connection of a server without a socket: bytes, events and times in, actions out.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod actions;
mod any_order;
mod builder;
mod charges;
mod closures;
#[path = "../common/mod.rs"]
mod common;
#[cfg(unix)]
mod descriptors;
mod ends;
mod limits;
mod moved;
mod writes;

use common::{chain, daemon};
use running_process::broker::backend_sdk::{
    Action, Answer, CallId, ConnectionConfig, Dispatched, HandlerError, Payload, PeerCredentials,
    Registration, RequestParts, ServerBuilder, ServerConfig, ServerPolicy, ServerSession, ServerStats, Slot,
};
use running_process::broker::protocol::{
    Endpoint, Frame, FrameKind, Refusal, RefusalReason, ServerStatus, encode_framed, try_decode_framed,
};
use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Served by a concurrent handler, which answers with its payload.
const CONCURRENT: u32 = 0x7001;
/// Served inline: answers with its payload.
const INLINE: u32 = 0x7002;
/// Not served.
const UNSERVED: u32 = 0x7003;

const TICK: Duration = Duration::from_millis(1);

type Handler = dyn Fn(&RequestParts) -> Result<Payload, HandlerError> + Send + Sync;
type Session = ServerSession<Handler>;
type Builder = ServerBuilder<Handler>;

/// A server without connections.
struct Server {
    policy: Arc<ServerPolicy<Handler>>,
    registration: Option<Registration>,
    stats: ServerStats,
    /// The errors that the observer was told, with their causes.
    errors: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Returns a server of [`CONCURRENT`] and [`INLINE`] with changes to the default configuration.
    fn with_config(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        change(&mut config);
        Self::configured(|builder| builder.config(config))
    }

    fn configured(configure: impl FnOnce(Builder) -> Builder) -> Self {
        let errors = Arc::<Mutex<Vec<String>>>::default();
        let observed = Arc::clone(&errors);
        let builder = configure(
            plain_builder()
                .serve(
                    CONCURRENT,
                    Arc::new(|request: &RequestParts| Ok(request.frame().payload.clone().into())),
                )
                .serve_inline(INLINE, |request| Ok(request.payload().to_vec()))
                .observe(move |error| observed.lock().unwrap().push(chain(error))),
        );
        let stats = builder.stats();
        let (policy, registration) = builder.start(Instant::now).unwrap();
        Self { policy, registration: Some(registration), stats, errors }
    }

    /// Returns a connection of this process, within the limit.
    fn connect(&self) -> Connection {
        self.accept(Slot::Served, Instant::now())
    }

    fn accept(&self, slot: Slot, now: Instant) -> Connection {
        let session =
            ServerSession::new(Arc::clone(&self.policy), PeerCredentials::current_process(), slot, now);
        Connection { session, dispatched: Vec::new(), now, received: Vec::new() }
    }

    /// Makes the identity known.
    fn identify(&mut self) {
        let stop = running_process::broker::backend_sdk::ServerStop::default();
        self.registration.take().unwrap().run(&stop, &self.policy, || {}).unwrap();
    }

    fn status(&self) -> ServerStatus {
        self.stats.snapshot()
    }

    /// Takes the errors that the observer was told.
    #[track_caller]
    fn errors(&self) -> Vec<String> {
        std::mem::take(&mut self.errors.lock().unwrap())
    }
}

/// Returns a builder without handlers, whose identity needs no executable.
fn plain_builder() -> Builder {
    ServerBuilder::new(Endpoint::unix_socket("demo", "/run/demo.sock").unwrap())
        .identify_with(|_, _| Ok(daemon()))
}

/// A session with a driver of a few lines, on a clock that stands still.
struct Connection {
    session: Session,
    /// The requests that were given to concurrent handlers, in their order.
    dispatched: Vec<Dispatched<Handler>>,
    now: Instant,
    /// Output that the peer has read, as far as it is no whole frame yet.
    received: Vec<u8>,
}

impl Connection {
    /// Receives `bytes` and processes them.
    fn receive(&mut self, bytes: &[u8]) {
        self.session.receive(bytes, self.now);
        self.process();
    }

    fn process(&mut self) {
        let Self { session, dispatched, .. } = self;
        session.process(|call| dispatched.push(call));
    }

    /// Ends the input of a peer that still reads, or one that is gone.
    fn end_of_input(&mut self, is_gone: bool) {
        let Self { session, dispatched, .. } = self;
        session.end_of_input(|| is_gone, |call| dispatched.push(call));
    }

    fn action(&mut self) -> Action {
        self.session.next_action()
    }

    /// Lets the time pass.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.process();
    }

    /// Ends the oldest dispatched request by its handler.
    fn serve_next(&mut self) -> CallId {
        let dispatched = self.dispatched.remove(0);
        let call = dispatched.call();
        let answer = dispatched.serve(|handler, request| handler(&request));
        self.session.finish(call, answer, self.now);
        call
    }

    /// Writes `length` bytes of the output, or what there is.
    fn write(&mut self, length: usize) -> usize {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = self.session.output_slices(&mut slices);
        let written: Vec<u8> =
            slices[..count].iter().flat_map(|slice| slice.iter().copied()).take(length).collect();
        if !written.is_empty() {
            self.session.output_written(written.len(), self.now);
        }
        self.received.extend_from_slice(&written);
        written.len()
    }

    /// Writes all output, and returns the frames that the peer has read.
    fn written(&mut self) -> Vec<Frame> {
        while self.session.has_output() {
            self.write(usize::MAX);
            self.process();
        }
        let frames = self.take_frames();
        assert!(self.received.is_empty(), "a part of a frame");
        frames
    }

    /// Takes the whole frames of what the peer has read.
    fn take_frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(decoded) = try_decode_framed(&self.received).unwrap() {
            self.received.drain(..decoded.consumed);
            frames.push(decoded.frame);
        }
        frames
    }

    /// Returns the only refusal among the frames that the peer reads now.
    #[track_caller]
    fn refusal(&mut self) -> Refusal {
        let frames = self.written();
        let [frame] = &frames[..] else { panic!("{frames:?}") };
        refusal_of(frame)
    }
}

#[track_caller]
fn refusal_of(frame: &Frame) -> Refusal {
    Refusal::from_frame(&frame.borrowed()).expect("a refusal")
}

fn request(protocol: u32, id: u64, payload: &[u8]) -> Vec<u8> {
    encode_framed(&Frame::request(protocol, payload.to_vec()).with_request_id(id)).unwrap()
}

fn cancel(id: u64) -> Vec<u8> {
    let cancel = Frame::request(CONCURRENT, Vec::new()).with_request_id(id);
    encode_framed(&Frame { kind: FrameKind::Cancel.into(), ..cancel }).unwrap()
}

fn probe(id: u64) -> Vec<u8> {
    encode_framed(&common::probe(id)).unwrap()
}

/// Returns the ids and payloads of responses, or the reasons of refusals.
fn summary(frames: &[Frame]) -> Vec<(u64, Result<Vec<u8>, RefusalReason>)> {
    let answer = |frame: &Frame| match Refusal::from_frame(&frame.borrowed()) {
        Some(refusal) => Err(refusal.reason()),
        None => Ok(frame.payload.clone()),
    };
    frames.iter().map(|frame| (frame.request_id, answer(frame))).collect()
}

/// Returns a configuration of connections without deadlines.
fn no_timeouts(config: &mut ConnectionConfig) {
    config.first_message_timeout = Duration::MAX;
    config.message_timeout = Duration::MAX;
    config.probed_timeout = Duration::MAX;
}

fn payload(bytes: &[u8]) -> Answer {
    Answer::Payload(bytes.to_vec().into())
}
