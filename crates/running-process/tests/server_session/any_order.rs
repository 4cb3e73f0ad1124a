//! Properties of a session: whatever its bytes are cut into, and in whatever order its requests end.

use super::{CONCURRENT, Connection, INLINE, Server, cancel, no_timeouts, payload, request};
use proptest::prelude::*;
use running_process::broker::backend_sdk::{Answer, CallId, HandlerError, Phase};
use running_process::broker::protocol::{Frame, FrameKind, encode_framed};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug)]
enum Move {
    /// The peer sends a request.
    Request {
        inline: bool,
        id: u8,
        length: usize,
        timeout_ms: Option<u16>,
    },
    /// The peer cancels a request, which may not be in flight.
    Cancel(u8),
    /// So many bytes of what the peer has sent arrive.
    Deliver(usize),
    /// A handler ends.
    Finish {
        which: u8,
        result: HandlerResult,
    },
    /// A handler sends an event.
    Event {
        which: u8,
        length: usize,
    },
    Wait(u16),
    /// The peer reads so many bytes.
    Write(usize),
    Enter(Phase),
}

#[derive(Clone, Copy, Debug)]
enum HandlerResult {
    Payload(usize),
    Failed,
    Panicked,
    Abandoned,
}

fn results() -> impl Strategy<Value = HandlerResult> {
    prop_oneof![
        6 => (0..40_000_usize).prop_map(HandlerResult::Payload),
        1 => Just(HandlerResult::Failed),
        1 => Just(HandlerResult::Panicked),
        1 => Just(HandlerResult::Abandoned),
    ]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let length = || prop_oneof![0..100_usize, 0..70_000_usize];
    let one = prop_oneof![
        6 => (any::<bool>(), 0..6_u8, length(), proptest::option::weighted(0.2, 1..500_u16))
            .prop_map(|(inline, id, length, timeout_ms)| Move::Request { inline, id, length, timeout_ms }),
        1 => (0..6_u8).prop_map(Move::Cancel),
        8 => length().prop_map(Move::Deliver),
        5 => (any::<u8>(), results()).prop_map(|(which, result)| Move::Finish { which, result }),
        2 => (any::<u8>(), length()).prop_map(|(which, length)| Move::Event { which, length }),
        1 => (0..300_u16).prop_map(Move::Wait),
        5 => length().prop_map(Move::Write),
    ];
    let enter = proptest::sample::select(&[Phase::HandedOver, Phase::Draining, Phase::Cancelling])
        .prop_map(Move::Enter);
    proptest::collection::vec(prop_oneof![100 => one, 1 => enter], 0..150)
}

/// A peer and its connection.
struct Exchange {
    connection: Connection,
    /// Bytes on the way to the session.
    sent: VecDeque<u8>,
    /// The requests that wait for an answer of a handler.
    open: Vec<CallId>,
    requests: HashMap<u64, usize>,
    answers: HashMap<u64, usize>,
}

impl Exchange {
    fn new(connection: Connection) -> Self {
        let (sent, open) = (VecDeque::new(), Vec::new());
        Self { connection, sent, open, requests: HashMap::new(), answers: HashMap::new() }
    }

    fn make(&mut self, step: Move) {
        let Self { connection, sent, open, requests, .. } = self;
        match step {
            Move::Request { inline, id, length, timeout_ms } => {
                *requests.entry(id.into()).or_default() += 1;
                let protocol = if inline { INLINE } else { CONCURRENT };
                sent.extend(match timeout_ms {
                    None => request(protocol, id.into(), &vec![id; length]),
                    Some(timeout_ms) => {
                        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                        let deadline = now + Duration::from_millis(timeout_ms.into());
                        let frame = Frame::request(protocol, vec![id; length]).with_request_id(id.into());
                        let deadline_unix_ms = deadline.as_millis().try_into().unwrap();
                        encode_framed(&Frame { deadline_unix_ms, ..frame }).unwrap()
                    }
                });
            }
            Move::Cancel(id) => sent.extend(cancel(id.into())),
            Move::Deliver(length) => {
                let arrived: Vec<u8> = sent.drain(..length.min(sent.len())).collect();
                if !arrived.is_empty() {
                    connection.session.receive(&arrived[..], connection.now);
                }
            }
            Move::Finish { which, result } if !open.is_empty() => {
                let call = open.remove(usize::from(which) % open.len());
                let answer = match result {
                    HandlerResult::Payload(length) => payload(&vec![which; length]),
                    HandlerResult::Failed => Answer::Failed(HandlerError::from("intended")),
                    HandlerResult::Panicked => Answer::Panicked,
                    HandlerResult::Abandoned => Answer::Abandoned,
                };
                connection.session.finish(call, answer, connection.now);
            }
            Move::Event { which, length } if !open.is_empty() => {
                let call = open[usize::from(which) % open.len()];
                if !connection.session.holds_back(call) {
                    let _cancelled_or_without_memory =
                        connection.session.send_event(call, &vec![which; length]);
                }
            }
            Move::Finish { .. } | Move::Event { .. } => {}
            Move::Wait(ms) => {
                connection.now += Duration::from_millis(ms.into());
                connection.session.handle_timeout(connection.now);
            }
            Move::Write(length) => {
                connection.write(length);
            }
            Move::Enter(phase) => {
                connection.session.enter(phase, connection.now);
            }
        }
        self.connection.process();
        self.open.extend(self.connection.dispatched.drain(..).map(|dispatched| dispatched.call()));
        for frame in self.connection.take_frames() {
            if frame.kind == i32::from(FrameKind::Response) {
                *self.answers.entry(frame.request_id).or_default() += 1;
            }
        }
    }

    /// Delivers, finishes and writes all that is left.
    fn settle(&mut self) {
        while !self.connection.session.is_reset()
            && (!self.sent.is_empty() || !self.open.is_empty() || self.connection.session.has_output())
        {
            self.make(Move::Write(usize::MAX));
            self.make(Move::Deliver(100_000));
            self.make(Move::Finish { which: 0, result: HandlerResult::Payload(1) });
        }
        while !self.open.is_empty() {
            self.make(Move::Finish { which: 0, result: HandlerResult::Abandoned });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Each request gets exactly one final frame, and nothing is charged once the session is closed.
    #[test]
    fn each_request_is_answered_once(moves in moves()) {
        let server = Server::with_config(|config| {
            no_timeouts(&mut config.connection);
            config.connection.max_in_flight = 3;
            config.send_high_water = 20_000;
        });
        let mut exchange = Exchange::new(server.connect());
        for step in moves {
            exchange.make(step);
            prop_assert!(exchange.connection.session.in_flight() <= 3);
            prop_assert_eq!(exchange.connection.session.in_flight(), exchange.open.len());
        }
        exchange.settle();
        prop_assert!(!exchange.connection.session.is_reset());
        prop_assert_eq!(exchange.requests, exchange.answers);
        exchange.connection.end_of_input(false);
        exchange.connection.process();
        prop_assert_eq!(exchange.connection.action(), running_process::broker::backend_sdk::Action::Close);
        exchange.connection.session.close();
        let status = server.status();
        prop_assert_eq!((status.memory_bytes, status.requests_in_flight, status.connections_open), (0, 0, 0));
    }

    /// A server that runs out of memory, or a driver that drops its session, answers no request twice and forgets no charge.
    #[test]
    fn a_session_that_ends_early_is_charged_with_nothing(moves in moves(), memory in 100_000..1_000_000_usize, settles: bool) {
        let server = Server::with_config(|config| {
            no_timeouts(&mut config.connection);
            config.send_high_water = 20_000;
            config.max_connections = 1;
            config.memory_limit = memory;
        });
        let mut exchange = Exchange::new(server.connect());
        for step in moves {
            exchange.make(step);
        }
        if settles {
            exchange.settle();
            prop_assert_eq!(exchange.connection.session.in_flight(), 0);
        }
        for (id, answers) in &exchange.answers {
            prop_assert!(answers <= &exchange.requests[id]);
        }
        drop(exchange);
        let status = server.status();
        prop_assert_eq!((status.memory_bytes, status.requests_in_flight, status.connections_open), (0, 0, 0));
    }
}
