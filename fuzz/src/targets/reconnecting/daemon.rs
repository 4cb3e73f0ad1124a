//! A scripted daemon, and its end of a connection.

use super::model::{Answer, Content, Request, State, decoded, event_payload, number_of, response_payload};
use crate::descriptors::borrowed;
use crate::stream::{SERVED, append};
use prost::Message;
use running_process::broker::protocol::{
    DescriptorFields, FRAME_HEADER_BYTES, FrameKind, FrameRef, Notice, NoticeKind, Refusal, RefusalReason,
    WANTS_MOVED,
};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::collections::{BTreeSet, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Most descriptors of a frame.
pub(super) const MOST: usize = 4;
const PROBE: u32 = 0xB232;

/// The rules of a daemon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The most descriptors that it takes with a frame.
    pub(super) descriptors: u8,
    /// The encodings that it takes.
    pub(super) encodings: u32,
}

#[derive(Debug)]
pub(super) struct Daemon {
    name: usize,
    terms: Terms,
    /// `None` once it is closed.
    socket: Option<UnixStream>,
    pub(super) is_hostile: bool,
    reads: bool,
    writes: bool,
    /// The client has ended the connection.
    is_left: bool,
    buffer: Box<[u8]>,
    /// Bytes that are no whole frame yet.
    input: Vec<u8>,
    /// The numbers of descriptors that came, and that frames have announced.
    came: usize,
    announced: usize,
    /// The requests that were received.
    received: Vec<Call>,
    /// The requests that have no answer.
    calls: Vec<Call>,
    cancelled: BTreeSet<u64>,
    /// All that it sends.
    output: Vec<u8>,
    written: usize,
    /// The numbers of descriptors that go with the byte at an offset of the output.
    attached: VecDeque<(usize, usize)>,
    /// The requests whose answers are not written yet, with the ends of these.
    answering: VecDeque<(usize, usize)>,
    notices: usize,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    id: u64,
    payload_protocol: u32,
    accepted: usize,
    /// `None` of a probe.
    number: Option<usize>,
}

impl Daemon {
    pub(super) fn new(name: usize, socket: UnixStream, terms: Terms) -> Self {
        Self {
            name,
            terms,
            socket: Some(socket),
            is_hostile: false,
            reads: true,
            writes: true,
            is_left: false,
            buffer: vec![0; 16 * 1024].into(),
            input: Vec::new(),
            came: 0,
            announced: 0,
            received: Vec::new(),
            calls: Vec::new(),
            cancelled: BTreeSet::new(),
            output: Vec::new(),
            written: 0,
            attached: VecDeque::new(),
            answering: VecDeque::new(),
            notices: 0,
        }
    }

    /// Reads at most so many bytes, and takes the frames that are whole then. Returns the number of bytes.
    pub(super) fn read(&mut self, most: usize, requests: &mut [Request]) -> usize {
        let mut read = 0;
        while self.reads
            && read < most
            && let Some(socket) = &self.socket
        {
            let room = self.buffer.len().min(most - read);
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut self.buffer[..room])];
            let came = match recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(came) if came.bytes > 0 => came,
                Err(Errno::AGAIN) => break,
                Ok(_) | Err(_) => {
                    self.is_left = true;
                    break;
                }
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.came += descriptors.count();
                }
            }
            self.input.extend_from_slice(&self.buffer[..came.bytes]);
            read += came.bytes;
            if came.bytes < room {
                break;
            }
        }
        if read == 0 {
            return 0;
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some(body) = whole(rest) {
            rest = &rest[FRAME_HEADER_BYTES + body.len()..];
            self.take(&FrameRef::decode(body).expect("the client sends frames"), requests);
        }
        self.input = rest.to_vec();
        read
    }

    fn take(&mut self, frame: &FrameRef<'_>, requests: &mut [Request]) {
        let id = frame.request_id;
        if frame.kind == i32::from(FrameKind::Cancel) {
            let call = self.received.iter().find(|call| call.id == id);
            let call = call.unwrap_or_else(|| panic!("{id} is cancelled, but never came"));
            assert!(self.cancelled.insert(id), "{call:?} is cancelled twice");
            let request = call.number.map(|number| &requests[number].state);
            let is_given_up = matches!(request, None | Some(State::Dropped { .. } | State::TimedOut));
            assert!(is_given_up, "{call:?} is cancelled, and its caller waits");
            return;
        }
        assert_eq!(frame.kind, i32::from(FrameKind::Request));
        assert!(self.received.last().is_none_or(|last| last.id < id), "the ids rise");
        self.announced += usize::from(frame.descriptors.count());
        assert!(self.announced <= self.came, "descriptors come before the end of their frame");
        let is_probe = frame.payload_protocol == PROBE;
        let is_first = self.received.iter().all(|call| call.number.is_none());
        assert_eq!(frame.accepted_encodings & WANTS_MOVED != 0, is_first && !is_probe);
        let number = (!is_probe).then(|| {
            assert_eq!(frame.payload_protocol, SERVED);
            let payload = decoded(frame);
            let number = number_of(&payload);
            requests[number].receive(self.name, frame, &payload);
            number
        });
        let accepted = usize::from(frame.descriptors.accepted()).min(MOST);
        let call = Call { id, payload_protocol: frame.payload_protocol, accepted, number };
        self.received.push(call);
        self.calls.push(call);
    }

    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, which: usize, content: Content, requests: &mut [Request]) {
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls.remove(which % self.calls.len());
        let Some(number) = call.number else {
            return self.send(call, FrameKind::Response, b"", 0);
        };
        let content = match content {
            Content::Response { length, descriptors } => {
                let descriptors = descriptors.min(call.accepted);
                let payload = response_payload(number, length);
                self.send(call, FrameKind::Response, &payload, descriptors);
                Content::Response { length, descriptors }
            }
            Content::Refusal(reason) => {
                let payload = Refusal::new(reason, "as the script says").encode_to_vec();
                self.send(Call { payload_protocol: 0, ..call }, FrameKind::Response, &payload, 0);
                Content::Refusal(reason)
            }
        };
        requests[number].answer = Some(Answer { content, written: None });
        self.answering.push_back((self.output.len(), number));
    }

    /// Answers all requests.
    pub(super) fn answer_all(&mut self, requests: &mut [Request]) {
        while self.has_calls() {
            self.answer(0, Content::Response { length: 0, descriptors: 0 }, requests);
        }
    }

    /// Sends an event of a request.
    pub(super) fn send_event(
        &mut self,
        which: usize,
        length: usize,
        descriptors: usize,
        requests: &mut [Request],
    ) {
        let Some(call) = self.calls.get(which % self.calls.len().max(1)).copied() else { return };
        let Some(number) = call.number else { return };
        let request = &mut requests[number];
        let descriptors = descriptors.min(call.accepted);
        let payload = event_payload(number, request.events.len(), length);
        request.events.push((length, descriptors));
        self.send(call, FrameKind::Event, &payload, descriptors);
    }

    fn send(&mut self, call: Call, kind: FrameKind, payload: &[u8], descriptors: usize) {
        let Terms { descriptors: accepted, encodings } = self.terms;
        let announced = u8::try_from(descriptors).expect("few come with a frame");
        if descriptors > 0 {
            self.attached.push_back((self.output.len(), descriptors));
        }
        let frame = FrameRef {
            kind: kind.into(),
            accepted_encodings: encodings,
            descriptors: DescriptorFields::NONE.announcing(announced).accepting(accepted),
            ..FrameRef::request(call.payload_protocol, call.id, payload)
        };
        append(&frame, &mut self.output);
    }

    /// Sends an event of no request.
    pub(super) fn send_notice(&mut self) {
        let payload = notice_payload(self.name, self.notices);
        self.notices += 1;
        let event = FrameRef { kind: FrameKind::Event.into(), ..FrameRef::request(SERVED, 0, &payload) };
        append(&event, &mut self.output);
    }

    pub(super) fn say_moved(&mut self) {
        append(&FrameRef::notice(&Notice::new(NoticeKind::Moved).encode_to_vec()), &mut self.output);
    }

    /// Sends bytes, whatever they are.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.is_hostile = true;
        self.output.extend_from_slice(bytes);
    }

    /// Writes at most so many bytes.
    pub(super) fn write(&mut self, most: usize, now: Instant, requests: &mut [Request]) {
        let end = self.output.len().min(self.written.saturating_add(most));
        while self.writes
            && self.written < end
            && let Some(socket) = &self.socket
        {
            let attached = |index| self.attached.get(index).copied().unwrap_or((usize::MAX, 0));
            let (at, descriptors) = attached(0);
            let (until, descriptors) =
                if at == self.written { (attached(1).0, descriptors) } else { (at, 0) };
            let slices = [IoSlice::new(&self.output[self.written..until.min(end)])];
            let Ok(sent) = send_with(socket, &slices, descriptors) else { break };
            if descriptors > 0 {
                self.attached.pop_front();
            }
            self.written += sent;
        }
        while let Some((_, number)) = self.answering.pop_front_if(|(end, _)| *end <= self.written) {
            if let Some(answer) = &mut requests[number].answer {
                answer.written = Some(now);
            }
        }
    }

    /// Ends the connection: all of it, or one direction.
    pub(super) fn end(&mut self, direction: Option<Shutdown>) {
        match (&self.socket, direction) {
            (None, _) => return,
            (Some(_), None | Some(Shutdown::Both)) => self.socket = None,
            (Some(socket), Some(direction)) => {
                // It fails if the client has ended the connection.
                let _ended = socket.shutdown(direction);
            }
        }
        self.reads &= direction == Some(Shutdown::Write);
        self.writes &= direction == Some(Shutdown::Read);
    }

    /// Returns whether all that the client can still get is written.
    pub(super) fn is_written(&self) -> bool {
        self.written == self.output.len() || !self.writes
    }

    pub(super) fn is_whole(&self) -> bool {
        self.reads && self.writes
    }

    pub(super) fn writes(&self) -> bool {
        self.writes
    }

    /// Checks that each request that was given up was cancelled, if it had no answer then. The end of the connection cancels all.
    pub(super) fn check_cancelled(&self, requests: &[Request]) {
        if self.is_left {
            return;
        }
        for call in &self.received {
            if let Some(number) = call.number
                && matches!(requests[number].state, State::Dropped { unanswered: true })
            {
                assert!(self.cancelled.contains(&call.id), "{call:?} is not cancelled");
            }
        }
    }
}

/// Sends bytes, with so many descriptors.
fn send_with(socket: &UnixStream, bytes: &[IoSlice<'_>], descriptors: usize) -> rustix::io::Result<usize> {
    let sent = [borrowed(); MOST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors > 0 {
        assert!(control.push(SendAncillaryMessage::ScmRights(&sent[..descriptors])));
    }
    sendmsg(socket, bytes, &mut control, SendFlags::NOSIGNAL)
}

/// Returns the body of the frame that `input` begins with, once it is whole.
fn whole(input: &[u8]) -> Option<&[u8]> {
    let (header, rest) = input.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let [1, length @ ..] = header else { panic!("the client sends frames") };
    rest.get(..u32::from_le_bytes(*length) as usize)
}

/// Returns the payload of an event of no request.
fn notice_payload(daemon: usize, number: usize) -> Vec<u8> {
    let [daemon, number] = [daemon, number].map(|number| u32::try_from(number).expect("there are few"));
    [NOTICE, daemon, number].map(u32::to_le_bytes).concat()
}

/// Checks that events of no request come in their order. Those of a request whose caller takes none are among them.
pub(super) fn check_seen(seen: &[Vec<u8>]) {
    let numbers = |payload: &Vec<u8>| match payload.as_chunks().0 {
        [mark, daemon, number] if u32::from_le_bytes(*mark) == NOTICE => {
            Some([daemon, number].map(|number| u32::from_le_bytes(*number)))
        }
        _ => None,
    };
    let notices: Vec<_> = seen.iter().filter_map(numbers).collect();
    let follows = |[daemon, number]: &[u32; 2], next: &[u32; 2]| *daemon != next[0] || *number < next[1];
    assert!(notices.is_sorted_by(follows), "{notices:?}");
}

/// The first number of such a payload, which no request has.
const NOTICE: u32 = u32::MAX;

/// The reasons of a refusal that the script chooses from.
pub(super) const REASONS: [RefusalReason; 4] = [
    RefusalReason::Overloaded,
    RefusalReason::DeadlinePassed,
    RefusalReason::ShuttingDown,
    RefusalReason::HandlerFailed,
];
