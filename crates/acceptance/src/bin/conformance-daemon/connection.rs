//! A connection: its bytes, its frames, its probes, and its end.

use crate::breaks::Break;
use crate::waits::Waits;
use running_process_acceptance::raw::{
    self, CANCEL, EVENT, Fields, Frame, HEADER_BYTES, MAX_BODY_BYTES, REQUEST, RESPONSE,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PROBE: u32 = 0xB232;
const NONCE_BYTES: usize = 32;
const MAX_PROBE_BYTES: usize = 4096;
const READ_BYTES: usize = 64 * 1024;
/// The time for which a daemon that breaks [`Break::HalfCloseEnds`] looks for the end of the input before its first answer.
const LOOK_FOR_END: Duration = Duration::from_secs(10);

/// The shared state of all connections.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) protocol: u32,
    pub(crate) broken: Option<Break>,
    pub(crate) waits: Waits,
    identity: Vec<u8>,
    writing: Mutex<()>,
}

impl Daemon {
    pub(crate) fn new(protocol: u32, identity: Vec<u8>, broken: Option<Break>) -> Self {
        Self { protocol, broken, waits: Waits::default(), identity, writing: Mutex::new(()) }
    }

    pub(crate) fn serve(&self, stream: UnixStream) {
        let mut connection = Connection {
            daemon: self,
            stream,
            input: Vec::new(),
            waiting: Vec::new(),
            probed: false,
            answered: false,
            noticed: false,
            burst: 0,
        };
        if let Err(error) = connection.run() {
            eprintln!("a connection ended: {error}");
        }
        if self.broken != Some(Break::EndUnnoticed) {
            connection.waiting.iter().for_each(|wait| self.waits.end(&wait.name));
        }
    }
}

/// A request that is answered only when it is cancelled or past its deadline.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) request: Frame,
    pub(crate) name: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) waiting: Vec<Waiting>,
    stream: UnixStream,
    /// The bytes that have arrived and were not taken yet.
    input: Vec<u8>,
    /// Set by the first probe.
    probed: bool,
    answered: bool,
    pub(crate) noticed: bool,
    /// The number of frames that were taken since the last read.
    pub(crate) burst: u32,
}

impl Connection<'_> {
    pub(crate) fn breaks(&self, rule: Break) -> bool {
        self.daemon.broken == Some(rule)
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            while let Some(body) = self.take_body()? {
                let frame = raw::decode(&body, Break::reading(self.daemon.broken))
                    .ok_or_else(|| ended("a damaged body"))?;
                self.frame(frame, body.len())?;
                self.burst += 1;
            }
            self.expire()?;
            if self.wait_for(PollFlags::IN)?.is_empty() {
                continue;
            }
            let mut bytes = vec![0; READ_BYTES];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            self.burst = 0;
            self.input.extend_from_slice(&bytes[..count]);
        }
        // The peer may have ended its direction only: what waits is answered at its deadline.
        while !self.waiting.is_empty() && !self.breaks(Break::HalfCloseEnds) {
            if self.wait_for(PollFlags::empty())?.contains(PollFlags::HUP) {
                break;
            }
            self.expire()?;
        }
        Ok(())
    }

    /// Takes the body of the next frame out of the input, if it is complete.
    fn take_body(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((header, rest)) = self.input.split_first_chunk::<HEADER_BYTES>() else {
            if self.breaks(Break::HeaderInOneRead) && !self.input.is_empty() {
                return Err(ended("a short header"));
            }
            // Without the version it is no frame, however many bytes follow.
            return match self.input.first() {
                Some(version) if *version != 1 && !self.breaks(Break::FramingVersionUnchecked) => {
                    Err(ended("no frame"))
                }
                _ => Ok(None),
            };
        };
        let [version, length @ ..] = *header;
        let mut length = u32::from_le_bytes(length) as usize;
        if version != 1 && !self.breaks(Break::FramingVersionUnchecked) {
            return Err(ended("no frame"));
        }
        if length > MAX_BODY_BYTES && !self.breaks(Break::CapUnchecked) {
            return Err(ended("a body above the cap"));
        }
        if length > READ_BYTES && self.breaks(Break::SmallBuffer) {
            return Err(ended("a body above the buffer"));
        }
        if self.breaks(Break::BodyInOneRead) && !rest.is_empty() {
            length = length.min(rest.len());
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let body = body.to_vec();
        self.input.drain(..HEADER_BYTES + length);
        if self.breaks(Break::RestLost) {
            self.input.clear();
        }
        if length == 0 && self.breaks(Break::EmptyFrameSkipped) {
            return self.take_body();
        }
        Ok(Some(body))
    }

    fn frame(&mut self, mut frame: Frame, body_bytes: usize) -> io::Result<()> {
        if self.breaks(Break::IdTruncated) {
            frame.request_id &= u64::from(u32::MAX);
        }
        if frame.payload_protocol == PROBE {
            self.probed = true;
            return self.probe(&frame, body_bytes);
        }
        if self.probed && self.breaks(Break::ProbeDecides) {
            return Err(ended("a request on a connection of probes"));
        }
        if frame.envelope_version != 1 && !self.breaks(Break::EnvelopeVersionUnchecked) {
            return Err(ended("an envelope of another version"));
        }
        match frame.kind {
            REQUEST => self.request(&frame),
            CANCEL => self.cancel(&frame),
            RESPONSE | EVENT if raw::is_first_party(frame.payload_protocol) => {
                Err(ended("a frame of a first-party protocol"))
            }
            RESPONSE | EVENT => Ok(()),
            _ if self.breaks(Break::KindUnchecked) => self.request(&frame),
            _ => Err(ended("a frame of an unknown kind")),
        }
    }

    fn probe(&mut self, probe: &Frame, body_bytes: usize) -> io::Result<()> {
        let valid = [
            probe.envelope_version == 1 || self.breaks(Break::ProbeVersion),
            probe.kind == REQUEST || self.breaks(Break::ProbeKind),
            probe.payload_encoding == 0 || self.breaks(Break::ProbeEncoding),
            probe.payload.len() == NONCE_BYTES || self.breaks(Break::ProbeLength),
            body_bytes <= MAX_PROBE_BYTES || self.breaks(Break::ProbeSize),
        ];
        if valid.contains(&false) {
            return Err(ended("a malformed probe"));
        }
        let mut payload =
            if self.breaks(Break::ProbeNonce) { vec![0; NONCE_BYTES] } else { probe.payload.clone() };
        payload.extend_from_slice(&self.daemon.identity);
        let mut response = response_to(probe, payload);
        if self.breaks(Break::ProbeId) {
            response.request_id = 1;
        }
        if self.breaks(Break::ProbeTraceContext) {
            response.traceparent.clear();
            response.tracestate.clear();
        }
        self.write(&response, Fields::default())?;
        if self.breaks(Break::ProbeEnds) { Err(ended("a probe")) } else { Ok(()) }
    }

    fn cancel(&mut self, cancel: &Frame) -> io::Result<()> {
        if self.breaks(Break::CancelIgnored) {
            return Ok(());
        }
        let is_ours = cancel.payload_protocol == self.daemon.protocol;
        if self.breaks(Break::CancelEnds) || self.breaks(Break::CancelProtocol) && !is_ours {
            return Err(ended("a cancel"));
        }
        let names = |wait: &Waiting| wait.request.request_id == cancel.request_id;
        if !self.waiting.iter().any(names) && self.breaks(Break::CancelUnknownEnds) {
            return Err(ended("a cancel of no request"));
        }
        let all = self.breaks(Break::CancelAll);
        self.end_waits(3, "cancelled", |wait| all || names(wait))?;
        if self.breaks(Break::CancelAnswered) {
            self.write(&response_to(cancel, b"cancelled".to_vec()), Fields::default())?;
        }
        Ok(())
    }

    /// Refuses the waits whose deadline has passed.
    fn expire(&mut self) -> io::Result<()> {
        if self.breaks(Break::DeadlineUnwatched) {
            return Ok(());
        }
        let now = unix_ms();
        self.end_waits(2, "the deadline passed", |wait| (1..=now).contains(&wait.request.deadline_unix_ms))
    }

    fn end_waits(
        &mut self,
        reason: u64,
        message: &str,
        ends: impl FnMut(&mut Waiting) -> bool,
    ) -> io::Result<()> {
        let ended: Vec<Waiting> = self.waiting.extract_if(.., ends).collect();
        for wait in ended {
            self.daemon.waits.end(&wait.name);
            self.refuse(&wait.request, reason, message)?;
        }
        Ok(())
    }

    /// Waits for `events` or the next deadline of a request, and returns what has happened.
    fn wait_for(&self, events: PollFlags) -> io::Result<PollFlags> {
        let deadlines = self.waiting.iter().map(|wait| wait.request.deadline_unix_ms);
        let next =
            deadlines.filter(|deadline| *deadline != 0 && !self.breaks(Break::DeadlineUnwatched)).min();
        self.wait_within(events, next.map(|next| Duration::from_millis(next.saturating_sub(unix_ms()))))
    }

    fn wait_within(&self, events: PollFlags, time: Option<Duration>) -> io::Result<PollFlags> {
        let time = time.map(|time| Timespec::try_from(time).unwrap());
        let mut watched = [PollFd::new(&self.stream, events)];
        poll(&mut watched, time.as_ref())?;
        Ok(watched[0].revents())
    }

    /// Writes a frame with `more` behind its fields.
    pub(crate) fn write(&mut self, frame: &Frame, more: Fields) -> io::Result<()> {
        if self.breaks(Break::HalfCloseEnds) && !self.answered {
            let found = self.wait_within(PollFlags::IN | PollFlags::RDHUP, Some(LOOK_FOR_END))?;
            if found.contains(PollFlags::RDHUP) {
                return Err(ended("the end of the input"));
            }
        }
        self.answered = true;
        let _held = self.breaks(Break::WriteUnderLock).then(|| self.daemon.writing.lock().unwrap());
        self.stream.write_all(&raw::encode(frame, more))
    }
}

/// Returns the response to a request, with its protocol, id and trace context.
pub(crate) fn response_to(request: &Frame, payload: Vec<u8>) -> Frame {
    Frame {
        kind: RESPONSE,
        payload,
        payload_encoding: 0,
        deadline_unix_ms: 0,
        envelope_version: 1,
        ..request.clone()
    }
}

/// Returns the error that ends a connection.
pub(crate) fn ended(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// Returns the time of day in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
