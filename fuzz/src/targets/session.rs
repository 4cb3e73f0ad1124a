use crate::descriptors::{open_descriptors, opened};
use crate::script::Script;
use crate::stream::{append, daemon, frames};
use running_process::broker::backend_sdk::{
    Action, Answer, CallId, Dispatched, HandlerError, Payload, PeerCredentials, Phase, RequestParts,
    ServerBuilder, ServerConfig, ServerPolicy, ServerSession, ServerStats, ServerStop, Slot,
};
use running_process::broker::protocol::{DescriptorFields, Endpoint, FrameKind, FrameRef};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A session of a server: in whatever order requests with descriptors, cancels, answers, reads and writes come, each request of a
/// peer that keeps to the rules gets one final frame and the descriptors that it came with. Whatever a peer does, no descriptor stays
/// open and nothing is charged once the session is gone.
pub(crate) fn run(input: &[u8]) {
    let before = open_descriptors();
    let mut script = Script::new(input);
    let flags = script.byte();
    let server = Server::new(flags & 2 != 0);
    let mut exchange = Exchange::new(&server, flags & 1 != 0);
    for _ in 0..MOST_STEPS {
        if script.is_over() {
            break;
        }
        exchange.step(&mut script);
        assert_eq!(exchange.session.in_flight(), exchange.open.len());
    }
    if !exchange.is_hostile && flags & 2 == 0 {
        exchange.settle();
    }
    drop(exchange);
    let status = server.stats.snapshot();
    assert_eq!((status.memory_bytes, status.requests_in_flight, status.connections_open), (0, 0, 0));
    drop(server);
    assert_eq!(open_descriptors(), before, "a descriptor stayed open");
}

const MOST_STEPS: usize = 200;
const CONCURRENT: u32 = 0x7001;
const INLINE: u32 = 0x7002;
/// Most descriptors of one frame.
const MOST: usize = 4;

type Handler = dyn Fn(&RequestParts) -> Result<Payload, HandlerError> + Send + Sync;
/// The number of a request, and the descriptors that came with it.
type Came = (u32, Vec<RawFd>);

struct Server {
    policy: Arc<ServerPolicy<Handler>>,
    stats: ServerStats,
    inline: Arc<Mutex<Vec<Came>>>,
}

impl Server {
    fn new(little_memory: bool) -> Self {
        let mut config = ServerConfig::default();
        config.connection.first_message_timeout = Duration::MAX;
        config.connection.message_timeout = Duration::MAX;
        config.connection.probed_timeout = Duration::MAX;
        config.connection.max_in_flight = 3;
        (config.connection.max_frame_descriptors, config.connection.max_descriptors) = (MOST, 2 * MOST);
        config.send_high_water = 20_000;
        config.max_connections = 1;
        if little_memory {
            config.memory_limit = 200_000;
        }
        let inline = Arc::<Mutex<Vec<Came>>>::default();
        let came = Arc::clone(&inline);
        let handler: Arc<Handler> = Arc::new(|_: &RequestParts| Ok("".into()));
        let builder =
            ServerBuilder::new(Endpoint::unix_socket("demo", "/run/demo.sock").expect("it is a name"))
                .identify_with(|_, _| Ok(daemon()))
                .config(config)
                .serve(CONCURRENT, handler)
                .serve_inline(INLINE, move |request| {
                    let descriptors = request.descriptors().iter().map(AsRawFd::as_raw_fd).collect();
                    let mut came = came.lock().expect("no thread panics");
                    came.push((number_of(request.payload()), descriptors));
                    Ok(request.payload().to_vec())
                });
        let stats = builder.stats();
        let (policy, registration) = builder.start(Instant::now).expect("the configuration is valid");
        // A probe waits for the identity.
        registration.run(&ServerStop::default(), &policy, || {}).expect("the identity is known");
        Self { policy, stats, inline }
    }
}

fn number_of(payload: &[u8]) -> u32 {
    payload.first_chunk().copied().map_or(u32::MAX, u32::from_le_bytes)
}

struct Exchange<'a> {
    server: &'a Server,
    session: ServerSession<Handler>,
    is_hostile: bool,
    now: Instant,
    /// All that the peer has sent.
    wire: Vec<u8>,
    delivered: usize,
    /// The descriptors that are still to be delivered, with the offsets of their frames.
    attached: VecDeque<(usize, Vec<OwnedFd>)>,
    /// The requests that the peer has sent, with their descriptors.
    requests: Vec<Came>,
    /// The requests that handlers got.
    came: Vec<Came>,
    open: Vec<(CallId, Dispatched<Handler>)>,
    /// Number of final frames that the peer has read, by request id.
    finals: [usize; 8],
    sent: [usize; 8],
    read: Vec<u8>,
}

impl<'a> Exchange<'a> {
    fn new(server: &'a Server, is_hostile: bool) -> Self {
        let now = Instant::now();
        let peer = PeerCredentials::current_process();
        let mut session = ServerSession::new(Arc::clone(&server.policy), peer, Slot::Served, now);
        session.accept_descriptors();
        let mut exchange = Self {
            server,
            session,
            is_hostile,
            now,
            wire: Vec::new(),
            delivered: 0,
            attached: VecDeque::new(),
            requests: Vec::new(),
            came: Vec::new(),
            open: Vec::new(),
            finals: [0; 8],
            sent: [0; 8],
            read: Vec::new(),
        };
        if !is_hostile {
            // The peer asks for descriptors, and sends none before the answer.
            exchange.request(INLINE, 7, 0, 0);
            exchange.deliver(usize::MAX);
            exchange.process();
            exchange.write(usize::MAX);
            assert_eq!(exchange.finals[7], 1);
            assert!(exchange.session.takes_descriptors());
        }
        exchange
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 12 {
            0..3 => {
                let protocol = if script.flag() { INLINE } else { CONCURRENT };
                let (id, length) = (script.below(6) as u64, LENGTHS[script.below(6)]);
                let descriptors = script.below(MOST + 1 + usize::from(self.is_hostile));
                self.request(protocol, id, length, descriptors);
            }
            3 => {
                let cancel = FrameRef {
                    kind: FrameKind::Cancel.into(),
                    ..FrameRef::request(INLINE, script.id() % 8, b"")
                };
                append(&cancel, &mut self.wire);
            }
            4 => append(&FrameRef::request(0xB232, 7, &[7; 32]), &mut self.wire),
            5 | 6 => self.deliver(script.u16().into()),
            7 => {
                let (which, result, length) =
                    (usize::from(script.byte()), script.byte(), LENGTHS[script.below(6)]);
                self.finish(which, result, length);
            }
            8 => {
                let which = usize::from(script.byte());
                if let Some((call, _)) = self.open.get(which % self.open.len().max(1))
                    && !self.session.holds_back(*call)
                {
                    let payload = vec![7; LENGTHS[script.below(6)]];
                    let _cancelled_or_without_memory = self.session.send_event(*call, &payload);
                }
            }
            9 => self.write(script.u16().into()),
            10 if self.is_hostile => match script.byte() % 4 {
                0 => self.wire.extend_from_slice(script.bytes()),
                1 => {
                    let mut descriptors: Vec<_> = (0..script.below(MOST + 3)).map(|_| opened()).collect();
                    let truncated = script.byte() == 1;
                    self.session.receive_descriptors(script.bytes(), &mut descriptors, truncated, self.now);
                }
                2 => {
                    let (gone, open) = (script.flag(), &mut self.open);
                    self.session
                        .end_of_input(|| gone, |dispatched| open.push((dispatched.call(), dispatched)));
                }
                _ => self.session.reset(),
            },
            10 => {
                self.now += Duration::from_millis(script.byte().into());
                self.session.handle_timeout(self.now);
            }
            _ => {
                // A driver ends the input once a server drains, and what the peer sends then is lost.
                let phases = [Phase::HandedOver, Phase::Draining, Phase::Cancelling];
                let last = if self.is_hostile { 3 } else { 1 };
                if script.byte().is_multiple_of(8) {
                    self.session.enter(phases[script.below(last)], self.now);
                }
            }
        }
        self.process();
    }

    fn request(&mut self, protocol: u32, id: u64, length: usize, descriptors: usize) {
        let number = u32::try_from(self.requests.len()).expect("few are sent");
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(payload.len() + length, 7);
        let at = self.wire.len();
        let fields = DescriptorFields::NONE.accepting(4);
        let fields = fields.announcing(u8::try_from(descriptors).expect("few come with a frame"));
        append(
            &FrameRef { descriptors: fields, ..FrameRef::request(protocol, id, &payload) },
            &mut self.wire,
        );
        let descriptors: Vec<_> = (0..descriptors).map(|_| opened()).collect();
        self.requests.push((number, descriptors.iter().map(AsRawFd::as_raw_fd).collect()));
        self.sent[id as usize] += 1;
        if !descriptors.is_empty() {
            self.attached.push_back((at, descriptors));
        }
    }

    /// Delivers a read as the system returns it: with the descriptors of one frame, and up to the next one that has some.
    fn deliver(&mut self, length: usize) {
        if !self.is_hostile && self.session.next_action() != Action::Read {
            return;
        }
        let mut end = self.wire.len().min(self.delivered.saturating_add(length));
        if end == self.delivered {
            return;
        }
        let mut descriptors = Vec::new();
        if self.attached.front().is_some_and(|(at, _)| *at < end) {
            descriptors = self.attached.pop_front().map(|(_, descriptors)| descriptors).unwrap_or_default();
            end = self.attached.front().map_or(end, |(next, _)| end.min(*next));
        }
        self.session.receive_descriptors(&self.wire[self.delivered..end], &mut descriptors, false, self.now);
        self.delivered = end;
    }

    fn process(&mut self) {
        let first = self.open.len();
        let Self { session, open, .. } = self;
        session.process(|dispatched| open.push((dispatched.call(), dispatched)));
        for (_, dispatched) in &self.open[first..] {
            let request = dispatched.request();
            let descriptors = request.descriptors().iter().map(AsRawFd::as_raw_fd).collect();
            self.came.push((number_of(&request.frame().payload), descriptors));
        }
        let mut inline = self.server.inline.lock().expect("no thread panics");
        self.came.append(&mut inline);
    }

    fn finish(&mut self, which: usize, result: u8, length: usize) {
        if self.open.is_empty() {
            return;
        }
        let (call, dispatched) = self.open.remove(which % self.open.len());
        drop(dispatched);
        let answer = match result % 8 {
            0 => Answer::Failed(HandlerError::from("intended")),
            1 => Answer::Panicked,
            2 => Answer::Abandoned,
            3 => Answer::Payload(Payload::from(vec![7; length]).with_descriptors([opened()])),
            _ => Answer::Payload(vec![7; length].into()),
        };
        self.session.finish(call, answer, self.now);
    }

    fn write(&mut self, length: usize) {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = self.session.output_slices(&mut slices);
        let mut left = length;
        let before = self.read.len();
        for slice in &slices[..count] {
            let taken = slice.len().min(left);
            self.read.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        let written = self.read.len() - before;
        if written > 0 {
            self.session.output_written(written, self.now);
        }
        let (frames, rest) = frames(&self.read);
        for frame in &frames {
            if frame.kind == i32::from(FrameKind::Response) && frame.payload_protocol != 0xB232 {
                self.finals[(frame.request_id % 8) as usize] += 1;
            }
        }
        self.read = rest.to_vec();
    }

    /// Delivers, finishes and writes all that is left; then each request had one answer, and its descriptors.
    fn settle(&mut self) {
        let mut rounds = 0;
        while !self.session.is_reset()
            && (self.delivered < self.wire.len() || !self.open.is_empty() || self.session.has_output())
        {
            rounds += 1;
            assert!(rounds < 10_000, "{:?}", self.session);
            self.write(usize::MAX);
            self.process();
            self.deliver(usize::MAX);
            self.process();
            self.finish(0, 7, 1);
            self.process();
        }
        assert!(!self.session.is_reset(), "the peer keeps to the rules");
        assert_eq!(self.finals, self.sent);
        self.came.sort_unstable();
        for came in &self.came {
            assert_eq!(came.1, self.requests[came.0 as usize].1, "descriptors of request {}", came.0);
        }
    }
}

const LENGTHS: [usize; 6] = [0, 1, 100, 5000, 20_000, 70_000];
