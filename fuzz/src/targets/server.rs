use crate::script::Script;
use crate::stream::{Detector, SERVED, append, frames};
use running_process::broker::backend_sdk::{
    CallId, CancelReason, ConnectionConfig, LegacyClassification, SendEventError, ServerConnection,
    ServerEvent,
};
use running_process::broker::protocol::{
    Frame, FrameKind, FrameRef, Notice, PayloadEncoding, Refusal, RefusalReason, decode_payload,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection with many calls, against a model: in whatever order requests, cancels, answers, deadlines, reads and writes of any
/// length come, each request that was taken gets exactly the final frame that it must get, after its events, and a call is
/// cancelled once.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut config = ConnectionConfig::default();
    config.first_message_timeout = Duration::MAX;
    config.message_timeout = Duration::MAX;
    config.probed_timeout = Duration::MAX;
    config.max_in_flight = 1 + script.below(4);
    let high_water = [1, 1000, 20_000, 200_000][script.below(4)];
    let (now, max_in_flight) = (Instant::now(), config.max_in_flight);
    let mut world = World {
        connection: ServerConnection::new(Arc::new(Detector::Never.mux()), config, high_water, now),
        now,
        max_in_flight,
        high_water,
        wire: Vec::new(),
        delivered: 0,
        sent: VecDeque::new(),
        open: Vec::new(),
        ended: None,
        unnoticed: BTreeMap::new(),
        expected: Default::default(),
        probes: 0,
        lists_encodings: false,
        notices: 0,
        read: Vec::new(),
        next_number: 0,
    };
    for _ in 0..MOST_STEPS {
        if script.is_over() {
            break;
        }
        world.step(&mut script);
        world.check();
    }
    world.settle();
}

const MOST_STEPS: usize = 300;

/// A frame of the peer, and the offset of its end.
struct Sent {
    what: SentFrame,
    end: usize,
}

enum SentFrame {
    Request { id: u64, number: u32 },
    Cancel { id: u64 },
    Probe,
}

/// An admitted call.
struct Open {
    call: CallId,
    id: u64,
    number: u32,
    deadline: Option<Instant>,
    cancelled: bool,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Event(Vec<u8>),
    Response(Vec<u8>),
    Refusal(RefusalReason),
}

struct World<F> {
    connection: ServerConnection<F, u32>,
    now: Instant,
    max_in_flight: usize,
    high_water: usize,
    /// All that the peer has sent.
    wire: Vec<u8>,
    delivered: usize,
    /// The frames that were not taken.
    sent: VecDeque<Sent>,
    open: Vec<Open>,
    ended: Option<CallId>,
    /// Calls by their numbers that were cancelled by this side, and are still to be reported.
    unnoticed: BTreeMap<u32, CancelReason>,
    /// The frames that the peer has still to read, by request id.
    expected: [VecDeque<Expected>; 8],
    probes: usize,
    lists_encodings: bool,
    notices: usize,
    /// Bytes that the peer has read and that are no whole frame.
    read: Vec<u8>,
    next_number: u32,
}

/// Lengths of payloads, among them those at which buffers do something else.
const LENGTHS: [usize; 8] = [0, 1, 40, 700, 4096, 16_383, 16_384, 70_000];

impl<F: Fn(&[u8]) -> LegacyClassification> World<F> {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0 | 1 => {
                let (id, number) = (script.below(6) as u64, self.next_number);
                let (accepted, protocol) = (script.byte() % 16, SERVED);
                self.lists_encodings |= accepted > 1;
                let payload = self.payload(script);
                let frame = FrameRef {
                    accepted_encodings: accepted.into(),
                    ..FrameRef::request(protocol, id, &payload)
                };
                self.send(&frame, SentFrame::Request { id, number });
            }
            2 => {
                let id = script.below(8) as u64;
                let cancel =
                    FrameRef { kind: FrameKind::Cancel.into(), ..FrameRef::request(SERVED, id, b"") };
                self.send(&cancel, SentFrame::Cancel { id });
            }
            3 => self.send(&FrameRef::request(0xB232, 7, &[7; 32]), SentFrame::Probe),
            4 | 5 => self.deliver(script.u16().into()),
            6 | 7 => self.take_events(script),
            8 => {
                let payload = self.payload(script);
                if let Some(open) = self.remove(script.byte()) {
                    if !open.cancelled {
                        self.expected[open.id as usize].push_back(Expected::Response(payload.clone()));
                    }
                    self.connection.respond(open.call, payload).expect("it fits a frame");
                }
            }
            9 => {
                if let Some(open) = self.remove(script.byte()) {
                    let reason = RefusalReason::HandlerFailed;
                    if !open.cancelled {
                        self.expected[open.id as usize].push_back(Expected::Refusal(reason));
                    }
                    self.connection.refuse(open.call, &Refusal::new(reason, "as the script says"));
                }
            }
            10 => {
                let payload = self.payload(script);
                let which = usize::from(script.byte());
                let Some(open) = self.open.get(which % self.open.len().max(1)) else { return };
                match self.connection.send_event(open.call, &payload) {
                    Ok(()) if !open.cancelled => {
                        self.expected[open.id as usize].push_back(Expected::Event(payload));
                    }
                    Err(SendEventError::Cancelled) if open.cancelled => {}
                    sent => panic!("cancelled: {}, but {sent:?}", open.cancelled),
                }
            }
            11 => {
                self.now += Duration::from_millis(script.byte().into());
                self.connection.handle_timeout(self.now);
                let now = self.now;
                self.cancel(CancelReason::DeadlinePassed, |open| {
                    open.deadline.is_some_and(|deadline| deadline <= now)
                });
            }
            12 | 13 => self.write(script.u16().into()),
            14 => self.take_and_restore(script),
            _ => match script.byte() % 4 {
                0 => {
                    self.max_in_flight = script.below(5);
                    self.connection.set_max_in_flight(self.max_in_flight);
                }
                1 => {
                    self.connection.cancel_all(CancelReason::ShuttingDown);
                    self.cancel(CancelReason::ShuttingDown, |_| true);
                }
                2 => self.connection.tell_moved(),
                _ => self.name_an_ended_call(),
            },
        }
    }

    fn payload(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let mut payload = self.next_number.to_le_bytes().to_vec();
        self.next_number += 1;
        payload.resize(payload.len() + LENGTHS[script.below(8)], 7);
        payload
    }

    fn send(&mut self, frame: &FrameRef<'_>, what: SentFrame) {
        append(frame, &mut self.wire);
        self.sent.push_back(Sent { what, end: self.wire.len() });
    }

    fn deliver(&mut self, length: usize) {
        let end = self.wire.len().min(self.delivered + length);
        self.connection.receive(&self.wire[self.delivered..end], self.now);
        self.delivered = end;
    }

    fn remove(&mut self, which: u8) -> Option<Open> {
        let open = (!self.open.is_empty()).then(|| self.open.remove(usize::from(which) % self.open.len()))?;
        self.unnoticed.remove(&open.number);
        self.ended = Some(open.call);
        Some(open)
    }

    /// Cancels the calls that are chosen, of which the connection will tell.
    fn cancel(&mut self, reason: CancelReason, is_chosen: impl Fn(&Open) -> bool) {
        for open in self.open.iter_mut().filter(|open| !open.cancelled && is_chosen(open)) {
            open.cancelled = true;
            self.unnoticed.insert(open.number, reason);
            self.expected[open.id as usize].push_back(Expected::Refusal(refusal_reason(reason)));
        }
    }

    fn take_events(&mut self, script: &mut Script<'_>) {
        loop {
            let unwritten = self.connection.unwritten();
            let in_flight = self.open.len();
            match self.connection.next_event().expect("the peer keeps to the rules") {
                None => break,
                Some(ServerEvent::Cancelled(cancelled)) => {
                    let (call, reason, number) = (cancelled.call, cancelled.reason, *cancelled.data);
                    let open = self.open.iter_mut().find(|open| open.call == call).expect("it is in flight");
                    assert_eq!(number, open.number);
                    match self.unnoticed.remove(&number) {
                        Some(expected) => assert_eq!(reason, expected),
                        None => {
                            assert!(!open.cancelled && self.unnoticed.is_empty());
                            assert_eq!(reason, CancelReason::Requested);
                            open.cancelled = true;
                            let id = open.id;
                            self.expected[id as usize].push_back(Expected::Refusal(refusal_reason(reason)));
                            let Some(SentFrame::Cancel { id: sent }) =
                                self.sent.pop_front().map(|sent| sent.what)
                            else {
                                panic!("request {id} was not cancelled next")
                            };
                            assert_eq!(sent, id);
                        }
                    }
                }
                Some(ServerEvent::Unasked(frame)) => {
                    let Some(SentFrame::Cancel { id }) = self.sent.pop_front().map(|sent| sent.what) else {
                        panic!("{frame:?}")
                    };
                    assert_eq!((frame.kind, frame.request_id), (FrameKind::Cancel.into(), id));
                    assert!(!self.open.iter().any(|open| open.id == id && !open.cancelled));
                }
                Some(ServerEvent::ProbeAnswered) => {
                    assert!(matches!(self.sent.pop_front().map(|sent| sent.what), Some(SentFrame::Probe)));
                    self.probes += 1;
                }
                Some(ServerEvent::Request(call)) => {
                    let Some(SentFrame::Request { id, number }) = self.sent.pop_front().map(|sent| sent.what)
                    else {
                        panic!("{:?} was not sent next", call.frame)
                    };
                    assert_eq!(
                        (call.frame.request_id, &call.payload()[..4]),
                        (id, &number.to_le_bytes()[..])
                    );
                    assert!(in_flight < self.max_in_flight && unwritten < self.high_water);
                    assert!(self.open.iter().all(|open| open.id != id));
                    let expected = &mut self.expected[id as usize];
                    match script.byte() % 8 {
                        0 => {
                            let payload = call.payload().to_vec();
                            expected.push_back(Expected::Response(payload.clone()));
                            call.respond(payload).expect("it fits a frame");
                        }
                        1 => {
                            expected.push_back(Expected::Refusal(RefusalReason::Overloaded));
                            call.refuse(&Refusal::new(RefusalReason::Overloaded, ""));
                        }
                        decision => {
                            let deadline = (decision == 2)
                                .then(|| self.now + Duration::from_millis(script.byte().into()));
                            let call = call.admit_with(deadline, number);
                            self.open.push(Open { call, id, number, deadline, cancelled: false });
                        }
                    }
                }
                Some(event) => panic!("{event:?}"),
            }
        }
        assert!(self.unnoticed.is_empty(), "{:?}", self.unnoticed);
        // A frame that has come whole waits only for a reason.
        if let Some(Sent { what, end }) = self.sent.front()
            && *end <= self.delivered
        {
            let has_place = match what {
                SentFrame::Request { id, .. } => {
                    self.open.len() < self.max_in_flight && self.open.iter().all(|open| open.id != *id)
                }
                _ => true,
            };
            assert!(!has_place || self.connection.unwritten() >= self.high_water);
            assert!(self.connection.is_blocked());
        }
        let next = self.open.iter().filter(|open| !open.cancelled).filter_map(|open| open.deadline).min();
        assert!(next.is_none_or(|next| self.connection.deadline().is_some_and(|deadline| deadline <= next)));
    }

    fn name_an_ended_call(&mut self) {
        let Some(call) = self.ended else { return };
        let unwritten = self.connection.unwritten();
        let refused = self
            .expected
            .iter()
            .flatten()
            .filter(|expected| matches!(expected, Expected::Refusal(_)))
            .count();
        self.connection.respond(call, "late").expect("it is dropped");
        self.connection.refuse(call, &Refusal::new(RefusalReason::HandlerFailed, "late"));
        assert!(matches!(self.connection.send_event(call, b"late"), Err(SendEventError::Cancelled)));
        assert!(self.connection.data(call).is_none() && !self.connection.is_cancelled(call));
        // The refusals of cancelled calls may be written meanwhile.
        assert!(self.connection.unwritten() == unwritten || refused > 0);
    }

    fn write(&mut self, length: usize) {
        let output = self.connection.output();
        let length = length.min(output.len());
        self.read.extend_from_slice(&output[..length]);
        if length > 0 {
            self.connection.output_written(length, self.now);
        }
        self.look_at_what_was_read();
    }

    /// Writes all output as a driver that blocks does, while a call ends.
    fn take_and_restore(&mut self, script: &mut Script<'_>) {
        let unwritten = self.connection.unwritten();
        let mut output = self.connection.take_output();
        assert_eq!((output.len(), self.connection.unwritten()), (unwritten, unwritten));
        if let Some(open) = self.remove(script.byte()) {
            if !open.cancelled {
                self.expected[open.id as usize].push_back(Expected::Response(b"meanwhile".to_vec()));
            }
            self.connection.respond(open.call, "meanwhile").expect("it fits a frame");
        }
        while !output.is_empty() {
            let first = output.first();
            let length = first.len();
            self.read.extend_from_slice(first);
            output.consume(length);
        }
        self.connection.restore_output(output, self.now);
        self.look_at_what_was_read();
    }

    fn look_at_what_was_read(&mut self) {
        let read = std::mem::take(&mut self.read);
        let (frames, rest) = frames(&read);
        for frame in frames {
            self.look_at(frame);
        }
        self.read = rest.to_vec();
    }

    fn look_at(&mut self, frame: Frame) {
        if Notice::from_frame(&frame.borrowed()).is_some() {
            self.notices += 1;
            return assert_eq!(self.notices, 1);
        }
        if frame.payload_protocol == 0xB232 {
            return self.probes = self.probes.checked_sub(1).expect("each probe is answered once");
        }
        let refusal = Refusal::from_frame(&frame.borrowed());
        let mut payload = frame.payload;
        if frame.payload_encoding != 0 {
            assert!(self.lists_encodings);
            let encoding = PayloadEncoding::try_from(frame.payload_encoding).expect("a known encoding");
            let mut decoded = Vec::new();
            decode_payload(encoding, &payload, 1 << 20, &mut decoded).expect("it was encoded by this side");
            payload = decoded;
        }
        let got = match refusal {
            Some(refusal) => Expected::Refusal(refusal.reason()),
            None if frame.kind == i32::from(FrameKind::Event) => Expected::Event(payload),
            None => {
                assert_eq!((frame.kind, frame.payload_protocol), (FrameKind::Response.into(), SERVED));
                Expected::Response(payload)
            }
        };
        assert_eq!(self.expected[frame.request_id as usize].pop_front(), Some(got));
    }

    fn check(&self) {
        assert_eq!(self.connection.in_flight(), self.open.len());
        for open in &self.open {
            assert_eq!(self.connection.is_cancelled(open.call), open.cancelled);
            assert_eq!(self.connection.data(open.call), Some(&open.number));
        }
    }

    /// Delivers, answers and writes all that is left, and ends the input.
    fn settle(&mut self) {
        self.max_in_flight = self.max_in_flight.max(1);
        self.connection.set_max_in_flight(self.max_in_flight);
        loop {
            self.deliver(usize::MAX - self.delivered);
            self.take_events(&mut Script::new(&[3; 64]));
            while let Some(open) = self.remove(0) {
                if !open.cancelled {
                    self.expected[open.id as usize].push_back(Expected::Response(b"last".to_vec()));
                }
                self.connection.respond(open.call, "last").expect("it fits a frame");
            }
            while self.connection.unwritten() > 0 {
                self.write(usize::MAX);
            }
            if self.sent.is_empty() && self.open.is_empty() {
                break;
            }
        }
        self.check();
        assert!(self.expected.iter().all(VecDeque::is_empty), "{:?}", self.expected);
        assert!(self.read.is_empty() && self.probes == 0);
        self.connection.receive_eof();
        assert!(matches!(self.connection.next_event(), Ok(Some(ServerEvent::Closed))));
        assert!(self.connection.is_over());
    }
}

fn refusal_reason(reason: CancelReason) -> RefusalReason {
    match reason {
        CancelReason::Requested => RefusalReason::Cancelled,
        CancelReason::DeadlinePassed => RefusalReason::DeadlinePassed,
        CancelReason::ShuttingDown => RefusalReason::HandlerFailed,
        reason => panic!("{reason:?} has no refusal"),
    }
}
