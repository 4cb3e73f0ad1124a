//! The asynchronous clients, and daemons whose script is the input.

mod caller;
mod daemon;
mod model;
mod source;

use crate::descriptors::{open_descriptors, opened};
use crate::script::Script;
use crate::stream::Stream;
use caller::{Caller, Client, Kind};
use daemon::{Daemon, MOST, REASONS, Terms, check_seen};
use model::{Conditions, Content, Request, State};
use running_process::broker::backend_sdk::{Payload, ReconnectConfig, RequestOptions};
use running_process::fuzzing::reconnecting_client;
use running_process::{AsyncFrameClient, Endpoint};
use source::{Mode, Pairs, Source};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;
use tokio::time::advance;

/// A client with many callers, and the daemons of its connections, which read, answer, move and end as the script says. Each caller
/// gets what the daemon gave to its request, no request comes to two daemons, and none comes of which its caller knows that it has
/// not run. Once the daemons answer everything, no caller waits. No task and no descriptor stays.
///
/// A daemon that sends any bytes may answer as it likes. The rest holds for it as well.
pub(crate) fn run(input: &[u8]) {
    thread_local! {
        // It is made once, and its clock stands still.
        static RUNTIME: Runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime without threads");
    }
    RUNTIME.with(|runtime| {
        let before = open_descriptors();
        runtime.block_on(play(Script::new(input)));
        assert_eq!(open_descriptors(), before, "a descriptor stayed open");
    });
}

const MOST_STEPS: usize = 100;
const MOST_REQUESTS: usize = 64;

async fn play(mut script: Script<'_>) {
    let flags = script.byte();
    let mut world = World::new(flags, &mut script).await;
    for _ in 0..MOST_STEPS {
        if script.is_over() {
            break;
        }
        let step = script.byte();
        world.step(step, &mut script).await;
        match step >> 6 {
            0 | 1 => world.turn().await,
            2 => world.run_client().await,
            _ => {}
        }
    }
    if flags & 0x80 == 0 {
        world.settle().await;
    }
    world.end().await;
}

struct World {
    client: Client,
    source: Source,
    terms: Terms,
    daemons: Vec<Daemon>,
    requests: Vec<Request>,
    watchers: Vec<Caller<Vec<Vec<u8>>>>,
    /// A daemon has ended a connection, or there was none.
    has_ended: bool,
    has_moved: bool,
    /// The number of callers that got an outcome.
    outcomes: usize,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl World {
    async fn new(flags: u8, script: &mut Script<'_>) -> Self {
        let terms = script.byte();
        let terms = Terms {
            descriptors: [0, 1, 4, 4][usize::from(terms & 3)],
            encodings: [0, 2, 4, 8][usize::from(terms >> 2 & 3)],
        };
        let backoff = if flags & 8 == 0 { Duration::ZERO } else { Duration::from_millis(10) };
        let config = ReconnectConfig::default().initial_backoff(backoff);
        let config = config.max_attempts(if flags & 16 == 0 { 10 } else { 2 });
        let pairs = Pairs::new(flags & 4 != 0);
        let (client, source) = match flags & 3 {
            0 | 1 => {
                let connecting = Arc::clone(&pairs);
                let client = reconnecting_client(move || Arc::clone(&connecting).connect(), config);
                (Client::Reconnecting(client), Source::Pairs(pairs))
            }
            2 => {
                let client = AsyncFrameClient::from_stream(pairs.pair()).expect("the runtime takes it");
                (Client::Connected(client), Source::Pairs(pairs))
            }
            _ => {
                let (source, path) = Source::listening();
                let endpoint = Endpoint::unix_socket("fuzz", path).expect("it is a path");
                let client = AsyncFrameClient::connect(&endpoint).await.expect("the source listens");
                (Client::Connected(client), source)
            }
        };
        Self {
            client,
            source,
            terms,
            daemons: Vec::new(),
            requests: Vec::new(),
            watchers: Vec::new(),
            has_ended: false,
            has_moved: false,
            outcomes: 0,
        }
    }

    async fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let now = now();
        match step % 64 % 20 {
            0..=3 => self.ask(script),
            4 => self.give_up(script.byte().into()),
            5 => self.watchers.push(Caller::new(self.client.clone().watch())),
            6 => self.set_mode([Mode::Connect, Mode::Fail, Mode::Wait][script.below(3)]),
            7 => advance(DURATIONS[script.below(DURATIONS.len())]).await,
            step => self.daemon(step, script, now),
        }
    }

    /// Lets a daemon do something.
    fn daemon(&mut self, step: u8, script: &mut Script<'_>, now: Instant) {
        let Self { daemons, requests, .. } = self;
        let count = daemons.len();
        let Some(daemon) = daemons.get_mut(usize::from(script.byte()) % count.max(1)) else { return };
        match step {
            8 | 9 => {
                let most = match script.byte() {
                    255 => usize::MAX,
                    most => usize::from(most) * usize::from(most),
                };
                daemon.read(most, requests);
                return;
            }
            10 => return daemon.write(script.u16().into(), now, requests),
            11 | 12 => {
                let (which, what) = (script.byte(), script.byte());
                if !daemon.has_calls() {
                    daemon.read(usize::MAX, requests);
                }
                let content = match what >> 6 {
                    0 => Content::Refusal(REASONS[usize::from(what) % REASONS.len()]),
                    _ => Content::Response {
                        length: LENGTHS[usize::from(what) % LENGTHS.len()],
                        descriptors: usize::from(what >> 3) % (MOST + 1),
                    },
                };
                daemon.answer(which.into(), content, requests);
            }
            13 => {
                let (which, what) = (script.byte(), usize::from(script.byte()));
                daemon.send_event(which.into(), LENGTHS[what % 4], (what >> 2) % (MOST + 1), requests);
            }
            14 => daemon.send_notice(),
            15 => {
                daemon.say_moved();
                self.has_moved = true;
            }
            16 | 17 => {
                self.has_ended = true;
                daemon.end([None, None, Some(Shutdown::Read), Some(Shutdown::Write)][script.below(4)]);
            }
            18 => {}
            _ => match script.byte() % 4 {
                0 => daemon.send_bytes(script.bytes()),
                _ => daemon.send_bytes(&Stream::read(&mut Script::new(script.bytes())).bytes),
            },
        }
        // Or the bytes wait for another step.
        if script.byte() & 0x80 == 0 {
            daemon.write(usize::MAX, now, requests);
        }
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        if self.requests.len() >= MOST_REQUESTS {
            return;
        }
        let (how, what) = (script.byte(), script.byte());
        let kind = [Kind::Response, Kind::Reply, Kind::Stream, Kind::OnConnection][usize::from(how & 3)];
        let mut options = RequestOptions::new();
        options = match how >> 2 & 7 {
            0 => options.with_deadline(now()),
            1 | 2 => options.with_deadline(now() + Duration::from_millis(5)),
            3 => options.with_deadline(now() + LONGEST),
            4 => options.with_trace_context("", "as=asked"),
            _ => options,
        };
        options.max_descriptors = [0, 0, 1, MOST][usize::from(how >> 5 & 3)];
        let number = self.requests.len();
        let length = LENGTHS[usize::from(what & 7)];
        let descriptors = [0, 0, 1, MOST][usize::from(what >> 3 & 3)];
        let payload = Payload::from(model::request_payload(number, length));
        let payload = match descriptors {
            0 => payload,
            count => payload.with_descriptors((0..count).map(|_| opened())),
        };
        let asking = Caller::new(self.client.clone().ask(kind, payload, options.clone()));
        self.requests.push(Request {
            number,
            kind,
            length,
            descriptors,
            options,
            state: State::Waiting(asking),
            received_by: None,
            events: Vec::new(),
            answer: None,
        });
    }

    /// Drops the future of a request.
    fn give_up(&mut self, which: usize) {
        let waits = |request: &&mut Request| matches!(request.state, State::Waiting(_));
        let mut waiting: Vec<_> = self.requests.iter_mut().filter(waits).collect();
        let count = waiting.len();
        if let Some(request) = waiting.get_mut(which % count.max(1)) {
            request.state = State::Dropped { unanswered: request.answer.is_none() };
        }
    }

    fn set_mode(&mut self, mode: Mode) {
        // A source that stops to listen ends those that it has not accepted.
        self.accept();
        self.has_ended |= mode != Mode::Connect && matches!(self.source, Source::Pairs(_));
        self.source.set(mode);
    }

    /// Lets the callers run, then the client, and then the callers again.
    async fn turn(&mut self) {
        self.poll();
        self.run_client().await;
        self.poll();
    }

    async fn run_client(&mut self) {
        yield_now().await;
        self.accept();
    }

    fn accept(&mut self) {
        for socket in self.source.accept() {
            self.daemons.push(Daemon::new(self.daemons.len(), socket, self.terms));
        }
    }

    /// Lets the callers run that were woken.
    fn poll(&mut self) {
        let daemons = &self.daemons;
        let any_hostile = daemons.iter().any(|daemon| daemon.is_hostile);
        let has_moved = self.has_moved && matches!(self.client, Client::Reconnecting(_));
        let has_ended = self.has_ended || any_hostile;
        for request in &mut self.requests {
            let State::Waiting(caller) = &mut request.state else { continue };
            let Some(answered) = caller.poll() else { continue };
            let is_hostile = request.received_by.map_or(any_hostile, |daemon| daemons[daemon].is_hostile);
            request.finish(&answered, Conditions { now: now(), is_hostile, has_ended, has_moved });
            self.outcomes += 1;
        }
        self.watchers.retain_mut(|watcher| {
            let seen = watcher.poll();
            if let Some(seen) = &seen
                && !any_hostile
            {
                check_seen(seen);
            }
            seen.is_none()
        });
    }

    fn is_waiting(&self) -> bool {
        self.requests.iter().any(|request| matches!(request.state, State::Waiting(_)))
    }

    /// Lets daemons that keep to the rules answer everything. Then each caller has an outcome, and each request that was given up was
    /// cancelled.
    async fn settle(&mut self) {
        self.source.set(Mode::Connect);
        let mut idle = 0;
        while self.is_waiting() || idle < 2 {
            let outcomes = self.outcomes;
            self.turn().await;
            let now = now();
            let mut read = 0;
            for daemon in &mut self.daemons {
                if daemon.is_hostile || !daemon.writes() {
                    daemon.end(None);
                    self.has_ended = true;
                }
                read += daemon.read(usize::MAX, &mut self.requests);
                daemon.answer_all(&mut self.requests);
                daemon.write(usize::MAX, now, &mut self.requests);
                if !daemon.is_whole() && daemon.is_written() {
                    daemon.end(None);
                }
            }
            idle = if read > 0 || self.outcomes > outcomes { 0 } else { idle + 1 };
            if idle > 2 {
                advance(Duration::from_secs(1)).await;
            }
            assert!(idle < 20, "a caller waits for ever");
        }
        for daemon in self.daemons.iter().filter(|daemon| daemon.is_whole()) {
            daemon.check_cancelled(&self.requests);
        }
    }

    /// Drops the client. Its connections and all that waits for them then end, whatever the daemons do.
    async fn end(self) {
        let Self { client, mut source, daemons, requests, mut watchers, .. } = self;
        drop((client, requests));
        source.set(Mode::Fail);
        let runtime = Handle::current().metrics();
        let mut turns = 0;
        while runtime.num_alive_tasks() > 0 || !watchers.is_empty() {
            assert!(turns < 8, "a connection goes on without a client");
            turns += 1;
            watchers.retain_mut(|watcher| watcher.poll().is_none());
            yield_now().await;
        }
        drop((source, daemons));
    }
}

/// Lengths of payloads beyond their numbers, among them those at which buffers do something else.
const LENGTHS: [usize; 8] = [0, 1, 40, 700, 4000, 16_384, 40_000, 70_000];
const DURATIONS: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(10), Duration::from_secs(1)];
/// A deadline that no script reaches.
const LONGEST: Duration = Duration::from_secs(1_000_000);
