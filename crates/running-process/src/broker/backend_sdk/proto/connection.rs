//! The daemon's side of one connection as a state machine: bytes and time in, events, bytes and a deadline out.

mod answer;
mod config;
mod deadline;
mod descriptors;
mod event;
mod receive;
mod rejected;
mod silence;
mod state;

pub(crate) use answer::{answering, append_answer, append_payload, append_refusal, unanswerable};
pub use config::{ConnectionConfig, Reclassify};
pub use event::{ConnectionError, ConnectionEvent, Received, ReceivedRequest, WaitingFor};

use super::descriptors::{Announced, ConnectionDescriptors};
use super::recv_buffer::{RETAINED_CAPACITY, RecvBuffer};
use super::send_buffer::{SendBuffer, ZERO_COPY_MIN};
use crate::broker::backend_sdk::mux::{
    BackendEndpointMux, Identification, LegacyClassification, MuxError, MuxPollRef,
};
use crate::broker::protocol::header::{FrameHeader, complete_body};
use crate::broker::protocol::{
    DecodePayloadError, FRAME_HEADER_BYTES, FrameKind, FrameRef, FramingError, MAX_FRAME_BYTES,
    PayloadEncoding, RefusalReason, try_decode_framed_ref,
};
#[cfg(feature = "host")]
use crate::descriptor::Descriptor;
use answer::refuse;
use rejected::cancel_of_rejected;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

/// The wire that the connection speaks, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WireState {
    /// No message is complete.
    Undecided,
    /// Only probes have come, which leave the wire undecided.
    Probed,
    /// At least one frame for the daemon has come.
    Framed,
    /// Handed over, ended or failed: there are no more events.
    Over,
}

impl WireState {
    fn fail(&mut self, error: impl Into<ConnectionError>) -> ConnectionError {
        *self = Self::Over;
        error.into()
    }
}

/// The event that lifts the limit of [`ConnectionConfig::first_message_bytes`] on each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageLimit {
    /// A frame for the daemon has come: the daemon judges its sender.
    UntilFramed,
    /// The driver [trusts](Connection::trust_peer) the peer.
    UntilTrusted,
    /// There is no limit but that of a frame.
    Lifted,
}

/// A message that has come and is not taken yet. The peer is not timed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    /// A request, or a probe for whose answer there is too much output.
    Request,
    /// A probe, because this daemon's own identity is not known yet.
    Probe,
}

/// The daemon's side of one connection as a state machine: any runtime, or none, drives it.
///
/// ```no_run
/// # use running_process::broker::backend_sdk::*;
/// # use std::{io::{Read, Write}, sync::Arc, time::Instant};
/// # fn drive<F: Fn(&[u8]) -> LegacyClassification>(mux: Arc<BackendEndpointMux<F>>, mut socket: impl Read + Write)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = Connection::new(mux, ConnectionConfig::default(), Instant::now());
/// let mut bytes = [0; 16 * 1024];
/// loop {
///     while let Some(event) = connection.next_event()? {
///         match event {
///             ConnectionEvent::Request(mut request) => {
///                 let reply = request.payload().to_ascii_uppercase();
///                 request.respond(&reply)?;
///             }
///             ConnectionEvent::Legacy(buffered) => todo!("the old decoder starts with {buffered:?}"),
///             ConnectionEvent::Closed => return Ok(()),
///             _ => {} // a probe was answered, or the event needs no answer
///         }
///     }
///     socket.write_all(connection.output())?;
///     connection.output_written(connection.output().len(), Instant::now());
///     match socket.read(&mut bytes)? { // a real driver waits no longer than connection.deadline()
///         0 => connection.receive_eof(),
///         length => connection.receive(&bytes[..length], Instant::now()),
///     }
/// }
/// # }
/// ```
///
/// **The guarantee:** the events are a function of the bytes; how they were cut into reads changes nothing, if the
/// detector keeps to a decision when more bytes follow. Every byte received is consumed by exactly one frame, probe or
/// hand-over, or is still held when an error ends the connection. Work is linear in the bytes received, memory follows
/// the bytes held.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other, each with a sentence of its own"
)]
pub struct Connection<F> {
    mux: Arc<BackendEndpointMux<F>>,
    config: ConnectionConfig,
    input: RecvBuffer,
    /// The memory of the input while the driver has taken it to read onto, in bytes.
    taken: usize,
    /// Length of the last frame, in bytes.
    last_length: usize,
    output: SendBuffer,
    /// The payload of the frame that was taken last, if it came encoded.
    decoded: Vec<u8>,
    wire: WireState,
    eof: bool,
    /// A deadline has passed, which the next event judges.
    expired: bool,
    /// `input` starts with a complete frame that the detector wants more bytes for.
    held_back: bool,
    /// The message at the front of `input`, if it is not taken yet.
    blocked: Option<Blocked>,
    /// A probe ends the connection, because the daemon is about to end.
    refuses_probes: bool,
    /// The peer waits for this side: it is not idle.
    busy: bool,
    /// A peer that sends nothing in time speaks the legacy wire.
    silent_is_legacy: bool,
    message_limit: MessageLimit,
    descriptors: ConnectionDescriptors,
    opened: Instant,
    last_received: Instant,
    /// When the last byte came or went.
    last_activity: Instant,
    /// When the message at the front of `input` began to arrive; meaningful while `input` holds something.
    message_began: Instant,
}

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Returns the connection that was accepted at `now`.
    pub fn new(mux: Arc<BackendEndpointMux<F>>, config: ConnectionConfig, now: Instant) -> Self {
        Self {
            mux,
            config,
            input: RecvBuffer::default(),
            taken: 0,
            last_length: 0,
            output: SendBuffer::default(),
            decoded: Vec::new(),
            wire: WireState::Undecided,
            eof: false,
            expired: false,
            held_back: false,
            blocked: None,
            refuses_probes: false,
            busy: false,
            silent_is_legacy: false,
            message_limit: MessageLimit::UntilFramed,
            descriptors: ConnectionDescriptors::default(),
            opened: now,
            last_received: now,
            last_activity: now,
            message_began: now,
        }
    }

    /// Returns the next event, or `None` until more arrives.
    ///
    /// # Errors
    ///
    /// The peer broke the rules or was too slow. The driver drops the connection; there are no events after an error.
    #[inline]
    pub fn next_event(&mut self) -> Result<Option<ConnectionEvent<'_>>, ConnectionError> {
        self.next_event_unless(true, |_, _| false)
    }

    /// Returns the [next event](Self::next_event), unless that is a request which `block` refuses to take: then the request and
    /// everything behind it stay in the buffer. `block` gets the frame and the output. For a probe it gets no frame.
    /// Payloads are decoded only if `decode` is set.
    ///
    /// # Errors
    ///
    /// As [`next_event`](Self::next_event).
    #[inline]
    pub(crate) fn next_event_unless(
        &mut self,
        decode: bool,
        block: impl FnOnce(Option<&FrameRef<'_>>, &SendBuffer) -> bool,
    ) -> Result<Option<ConnectionEvent<'_>>, ConnectionError> {
        if self.blocked.take().is_some() {
            self.input.reclaim();
        }
        self.decoded.clear();
        self.decoded.shrink_to(RETAINED_CAPACITY);
        if self.wire == WireState::Over {
            return Ok(None);
        }
        match self.next_wire() {
            LegacyClassification::Legacy => {
                self.wire = WireState::Over;
                Ok(Some(ConnectionEvent::Legacy(self.input.take())))
            }
            LegacyClassification::NeedMoreBytes => self.wait(self.input.len()),
            LegacyClassification::NotLegacy => {
                let buffer = self.input.as_slice();
                let header = FrameHeader::parse(buffer, MAX_FRAME_BYTES);
                match header.map_err(|error| self.wire.fail(MuxError::Framing(error)))? {
                    Some(header) if header.frame_length() <= buffer.len() => {
                        self.next_frame(header.frame_length(), decode, block)
                    }
                    Some(header) => self.wait(header.frame_length()),
                    None => self.wait(buffer.len()),
                }
            }
        }
    }

    /// Returns the wire of the message at the front of the input.
    #[inline]
    fn next_wire(&mut self) -> LegacyClassification {
        self.held_back = false;
        if self.input.is_empty() {
            LegacyClassification::NeedMoreBytes
        } else if self.wire == WireState::Framed && self.config.reclassify == Reclassify::Never {
            LegacyClassification::NotLegacy
        } else {
            self.classify()
        }
    }

    /// Asks the detector. If it is undecided when no more bytes will come, or none have come for long enough, a complete frame
    /// is a frame and anything else is legacy.
    #[inline(never)]
    fn classify(&mut self) -> LegacyClassification {
        let buffer = self.input.as_slice();
        match self.mux.classify(buffer) {
            LegacyClassification::NeedMoreBytes if self.eof || self.expired => {
                match try_decode_framed_ref(buffer) {
                    Ok(Some(_)) => LegacyClassification::NotLegacy,
                    _ => LegacyClassification::Legacy,
                }
            }
            LegacyClassification::NeedMoreBytes => {
                self.held_back = matches!(complete_body(buffer, MAX_FRAME_BYTES), Ok(Some(_)));
                LegacyClassification::NeedMoreBytes
            }
            decided => decided,
        }
    }

    /// Takes the complete frame of `length` bytes at the front of the input.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
    fn next_frame(
        &mut self,
        length: usize,
        decode: bool,
        block: impl FnOnce(Option<&FrameRef<'_>>, &SendBuffer) -> bool,
    ) -> Result<Option<ConnectionEvent<'_>>, ConnectionError> {
        self.check_first(length)?;
        self.expired = false;
        self.last_length = length;
        self.message_began = self.last_received;
        let (buffer, mut front) = self.input.front();
        let (mut frame, consumed) = match self.mux.take(&buffer[FRAME_HEADER_BYTES..length]) {
            Ok(MuxPollRef::Payload { frame, consumed }) => (frame, consumed),
            Ok(MuxPollRef::Probe { probe, consumed }) => {
                match self.mux.identification() {
                    _ if self.refuses_probes => {
                        self.wire = WireState::Over;
                        return Ok(None);
                    }
                    Identification::Done => {}
                    Identification::Underway => {
                        self.blocked = Some(Blocked::Probe);
                        return Ok(None);
                    }
                    Identification::Failed => {
                        self.wire = WireState::Over;
                        return Ok(None);
                    }
                }
                if block(None, &self.output) {
                    self.blocked = Some(Blocked::Request);
                    return Ok(None);
                }
                let fields = probe.frame().descriptors;
                let accepted = self.descriptors.take_probe(fields, length, buffer.len());
                let accepted = accepted.map_err(|fault| self.wire.fail(fault))?;
                if let Err(error) = self.mux.answer_taking(&probe, accepted, self.output.tail()) {
                    return Err(self.wire.fail(MuxError::Framing(error)));
                }
                front.consume(consumed);
                if self.wire == WireState::Undecided {
                    self.wire = WireState::Probed;
                }
                return Ok(Some(ConnectionEvent::ProbeAnswered));
            }
            Ok(MuxPollRef::NeedMoreBytes | MuxPollRef::Legacy) => return Ok(None),
            Err(error) => {
                let message = &buffer[..length];
                let cancel = cancel_of_rejected(message, error, self.config.strict, &mut self.output);
                let cancel = cancel.map_err(|error| self.wire.fail(error))?;
                let taken = self.descriptors.take(Announced::of(&cancel), 0, length, buffer.len());
                taken.map_err(|fault| self.wire.fail(fault))?;
                front.consume(length);
                self.wire = WireState::Framed;
                return Ok(Some(ConnectionEvent::Cancel(cancel)));
            }
        };
        let kind = FrameKind::try_from(frame.kind);
        let encodings = &self.config.encodings;
        if self.config.strict
            && let Err(violation) = frame.check_strict_accepting(encodings.accepted())
            && !violation.is_of_encoding()
        {
            return Err(self.wire.fail(violation));
        }
        if kind == Ok(FrameKind::Request) && block(Some(&frame), &self.output) {
            self.blocked = Some(Blocked::Request);
            return Ok(None);
        }
        if !frame.descriptors.is_none() || self.descriptors.is_counting() {
            let asked = frame.descriptors.accepted();
            let peer = self.descriptors.take(Announced::of(&frame), asked, length, buffer.len());
            let peer = peer.map_err(|fault| self.wire.fail(fault))?;
            frame.descriptors = frame.descriptors.accepting(peer);
        }
        front.consume(consumed);
        self.wire = WireState::Framed;
        if self.message_limit == MessageLimit::UntilFramed {
            self.message_limit = MessageLimit::Lifted;
        }
        if decode && frame.payload_encoding != i32::from(PayloadEncoding::None) {
            match encodings.decode(frame, &mut self.decoded) {
                Ok(decoded) => frame = decoded,
                // The payload of a cancel means nothing, so it need not be understood.
                Err(_) if kind == Ok(FrameKind::Cancel) => {}
                // The daemon may know it.
                Err(DecodePayloadError::NotAccepted { .. }) if !self.config.strict => {}
                // The envelope holds, so the peer can be told, and the frames behind this one be understood.
                Err(error) => {
                    refuse(&frame, RefusalReason::BadEncoding, &error, &mut self.output);
                    return Ok(Some(ConnectionEvent::Refused(error)));
                }
            }
        }
        Ok(Some(match kind {
            Ok(FrameKind::Request) => {
                let accepted_descriptors = self.descriptors.accepted();
                let output = &mut self.output;
                ConnectionEvent::Request(ReceivedRequest { frame, output, encodings, accepted_descriptors })
            }
            Ok(FrameKind::Response) => ConnectionEvent::Response(frame),
            Ok(FrameKind::Event) => ConnectionEvent::Event(frame),
            Ok(FrameKind::Cancel) => ConnectionEvent::Cancel(frame),
            Err(_) => ConnectionEvent::UnknownKind(frame),
        }))
    }

    /// Waits for a message of at least `length` bytes to be complete, unless that cannot happen any more.
    fn wait(&mut self, length: usize) -> Result<Option<ConnectionEvent<'_>>, ConnectionError> {
        self.input.reclaim();
        let buffered = self.input.len();
        self.check_first(length)?;
        self.descriptors.check().map_err(|fault| self.wire.fail(fault))?;
        if self.eof && buffered == 0 {
            self.wire = WireState::Over;
            return Ok(Some(ConnectionEvent::Closed));
        }
        if self.eof {
            return Err(self.wire.fail(ConnectionError::Truncated { buffered }));
        }
        match self.waiting_for() {
            Some(_) if self.expired && self.silent_is_legacy && self.is_silent() => {
                self.wire = WireState::Over;
                Ok(Some(ConnectionEvent::Legacy(Vec::new())))
            }
            Some(waiting_for) if self.expired => {
                Err(self.wire.fail(ConnectionError::TimedOut { waiting_for }))
            }
            _ => Ok(None),
        }
    }

    /// Appends a frame to the output: a later response, an event, or a request of the daemon's own.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`]; nothing was appended then.
    pub fn send(&mut self, frame: &FrameRef<'_>) -> Result<(), FramingError> {
        frame.encode_framed(self.output.tail())
    }

    /// Returns the output that waits to be written to the peer.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.first()
    }

    pub(crate) fn output_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.fill(slices)
    }

    #[cfg(feature = "host")]
    pub(crate) fn output_descriptors(&self) -> &[Descriptor] {
        self.output.descriptors()
    }

    /// Returns how many bytes wait to be written.
    pub(crate) fn unwritten(&self) -> usize {
        self.output.len()
    }

    /// Removes the first `length` bytes of the output, which were written at `now`.
    ///
    /// # Panics
    ///
    /// `length` is more than the output holds.
    pub fn output_written(&mut self, length: usize, now: Instant) {
        self.output.consume(length);
        if length > 0 {
            self.touch(now);
        }
    }

    /// Returns whether nothing waits to be written.
    #[inline]
    pub(crate) fn all_written(&self) -> bool {
        self.output.is_empty()
    }

    /// Returns the output, to append to.
    pub(crate) fn output_buffer(&mut self) -> &mut SendBuffer {
        &mut self.output
    }
}
