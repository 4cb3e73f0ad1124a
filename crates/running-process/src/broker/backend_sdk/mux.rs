//! The mux: tells a daemon's three kinds of traffic apart, as a pure function of the read buffer.

#![allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]

use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::probe::{
    EndpointProbeRequestRef, EndpointProbeServerError, encode_probe_reply, probe_reply,
};
use crate::broker::protocol::header::complete_body;
use crate::broker::protocol::registry::{BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, is_first_party};
use crate::broker::protocol::{
    ENVELOPE_VERSION, FRAME_HEADER_BYTES, Frame, FrameRef, FramingError, MAX_FRAME_BYTES,
};
use std::fmt;
use std::sync::OnceLock;

/// The verdict of a daemon's own detector on a buffer.
///
/// ```
/// use running_process::LegacyClassification;
///
/// /// Each message of the old wire begins with `OLD1`.
/// fn detect(buffer: &[u8]) -> LegacyClassification {
///     let start = &buffer[..buffer.len().min(4)];
///     if !b"OLD1".starts_with(start) {
///         LegacyClassification::NotLegacy
///     } else if start.len() < 4 {
///         LegacyClassification::NeedMoreBytes
///     } else {
///         LegacyClassification::Legacy
///     }
/// }
///
/// assert_eq!(detect(b"OL"), LegacyClassification::NeedMoreBytes);
/// assert_eq!(detect(b"OLD1 get x"), LegacyClassification::Legacy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyClassification {
    /// The bytes are the daemon's legacy wire.
    Legacy,
    /// The bytes are not the legacy wire, and the mux looks for a frame.
    NotLegacy,
    /// Too few bytes to tell.
    NeedMoreBytes,
}

/// The meaning of the start of a read buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum MuxPoll {
    /// The bytes do not decide it yet. Read more and poll the whole buffer again.
    NeedMoreBytes,
    /// The connection speaks the legacy wire; nothing was consumed.
    Legacy,
    /// An identity probe; write `reply` and drop `consumed` bytes from the buffer.
    ProbeAnswered {
        /// The framed answer, ready to be written.
        reply: Vec<u8>,
        /// Bytes that the probe took; `consumed <= buffer.len()`.
        consumed: usize,
    },
    /// A frame for the daemon, of any kind; drop `consumed` bytes from the buffer.
    Payload {
        /// The frame.
        frame: Frame,
        /// Bytes that the frame took; `consumed <= buffer.len()`.
        consumed: usize,
    },
}

/// [`MuxPoll`] whose frames still lie in the buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MuxPollRef<'a> {
    /// As [`MuxPoll::NeedMoreBytes`].
    NeedMoreBytes,
    /// As [`MuxPoll::Legacy`].
    Legacy,
    /// A valid identity probe; [`BackendEndpointMux::answer`] it and drop `consumed` bytes from the buffer.
    Probe {
        /// The probe, for [`BackendEndpointMux::answer`].
        probe: EndpointProbeRequestRef<'a>,
        /// Bytes that the probe took; `consumed <= buffer.len()`.
        consumed: usize,
    },
    /// As [`MuxPoll::Payload`].
    Payload {
        /// The frame.
        frame: FrameRef<'a>,
        /// Bytes that the frame took; `consumed <= buffer.len()`.
        consumed: usize,
    },
}

/// The reason for which a connection cannot go on. Each is the peer's fault, and ends that connection only.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// The bytes begin like a frame and are not one.
    #[error("not a frame")]
    Framing(#[from] FramingError),
    /// The frame has the payload protocol of identity probes and is not a valid one.
    #[error("malformed identity probe")]
    MalformedProbe(#[from] EndpointProbeServerError),
    /// A payload protocol of the wire itself, which no daemon serves.
    #[error("payload protocol 0x{payload_protocol:04X} is first-party and not served by a daemon")]
    UnexpectedFirstPartyFrame {
        /// The id in the frame.
        payload_protocol: u32,
    },
    /// A payload protocol that this daemon did not list.
    #[error("payload protocol 0x{payload_protocol:04X} is not served by this daemon")]
    UnservedPayloadProtocol {
        /// The id in the frame.
        payload_protocol: u32,
    },
}

/// Tells legacy traffic, identity probes and payload frames apart.
///
/// It is immutable. All connections of a daemon share one, behind an `Arc`.
///
/// # The buffer contract
///
/// [`poll`](Self::poll) looks at everything that a connection has sent and that was not consumed yet:
///
/// - [`NeedMoreBytes`](MuxPoll::NeedMoreBytes): append what arrives next, poll again. A poll costs the same however much of
///   a frame has arrived.
/// - [`Legacy`](MuxPoll::Legacy): nothing was consumed; hand the connection with the whole buffer to the old decoder.
/// - [`ProbeAnswered`](MuxPoll::ProbeAnswered): write `reply`, drop `consumed` bytes, poll the rest.
/// - [`Payload`](MuxPoll::Payload): serve `frame`, drop `consumed` bytes, poll the rest.
/// - [`MuxError`]: drop the connection.
///
/// **The guarantee:** the answer is a function of the bytes alone. However they were cut into reads, the same sequence
/// of answers comes out; `poll` performs no I/O, consumes nothing and never panics.
///
/// The equivalent loop:
///
/// ```
/// use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification, MuxPoll};
/// use running_process::broker::protocol::{self, Frame, encode_framed};
/// # let daemon = protocol::DaemonProcess {
/// #     pid: 7, exe_path: "/bin/d".into(), exe_sha256: vec![7; 32], boot_id: "b".into(),
/// #     ipc_endpoint: Some(protocol::Endpoint::unix_socket("demo", "/run/demo.sock")?),
/// #     ..Default::default()
/// # };
/// # let daemon = daemon.try_into()?;
/// const CACHE: u32 = 0xF00D;
/// let mux = BackendEndpointMux::new(daemon, &[CACHE], |_: &[u8]| LegacyClassification::NotLegacy);
///
/// let wire = encode_framed(&Frame::request(CACHE, b"ping".to_vec()))?;
/// let mut reads = wire.chunks(3); // the connection, three bytes at a time
/// let mut buffer = Vec::new();
/// let served = loop {
///     match mux.poll(&buffer)? {
///         MuxPoll::NeedMoreBytes => buffer.extend_from_slice(reads.next().expect("the client hung up")),
///         MuxPoll::Legacy => unreachable!("hand connection and buffer to the old decoder"),
///         MuxPoll::ProbeAnswered { reply, consumed } => {
///             // write_all(&reply)
///             buffer.drain(..consumed);
///         }
///         MuxPoll::Payload { frame, consumed } => {
///             buffer.drain(..consumed);
///             break frame;
///         }
///     }
/// };
/// assert_eq!(served.payload, b"ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Connection`](super::Connection) is this loop as a state machine, with deadlines and a buffer that drops what was
/// consumed in linear time.
pub struct BackendEndpointMux<F> {
    /// The identity of the daemon, once it is known. The inner `None` says that it will never be.
    identity: OnceLock<Option<Identity>>,
    /// The payload protocols of the daemon. None of them is first-party.
    served: Box<[u32]>,
    detector: F,
}

struct Identity {
    daemon: DaemonProcess,
    /// `daemon`, encoded once for all probes.
    encoded: Box<[u8]>,
}

/// The progress of the identification, for which probes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identification {
    Underway,
    /// Probes are answered.
    Done,
    /// No probe will ever be answered.
    Failed,
}

impl<F> BackendEndpointMux<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Returns a mux for `daemon`, which serves the payload protocols `served`. `detector` recognizes its legacy wire.
    ///
    /// A first-party id in `served` has no effect: such frames are refused all the same.
    pub fn new(daemon: DaemonProcess, served: &[u32], detector: F) -> Self {
        let mux = Self::unidentified(served, detector);
        mux.identify(Some(daemon));
        mux
    }

    /// Returns the identity that probes are answered with.
    pub fn daemon(&self) -> &DaemonProcess {
        &self.identity().daemon
    }

    /// Returns a mux that is [identified](Self::identify) later. Until then its driver answers no probe.
    pub(super) fn unidentified(served: &[u32], detector: F) -> Self {
        let served = served.iter().copied().filter(|id| !is_first_party(*id)).collect();
        Self { identity: OnceLock::new(), served, detector }
    }

    /// Ends the identification with the identity, or with `None` if it failed. Only the first call counts.
    pub(super) fn identify(&self, daemon: Option<DaemonProcess>) {
        self.identity.get_or_init(|| {
            daemon.map(|daemon| Identity { encoded: daemon.encode().into_boxed_slice(), daemon })
        });
    }

    pub(super) fn identification(&self) -> Identification {
        match self.identity.get() {
            None => Identification::Underway,
            Some(Some(_)) => Identification::Done,
            Some(None) => Identification::Failed,
        }
    }

    fn identity(&self) -> &Identity {
        match self.identity.get() {
            Some(Some(identity)) => identity,
            _ => unreachable!("a driver answers no probe before the mux is identified"),
        }
    }

    /// Classifies the start of `buffer`; the type's documentation has the contract.
    ///
    /// # Errors
    ///
    /// The connection cannot go on; see [`MuxError`].
    #[inline(always)]
    pub fn poll(&self, buffer: &[u8]) -> Result<MuxPoll, MuxError> {
        match self.classify(buffer) {
            LegacyClassification::Legacy => Ok(MuxPoll::Legacy),
            LegacyClassification::NeedMoreBytes => Ok(MuxPoll::NeedMoreBytes),
            LegacyClassification::NotLegacy => match complete_body(buffer, MAX_FRAME_BYTES)? {
                Some(body) => self.take_owned(body),
                None => Ok(MuxPoll::NeedMoreBytes),
            },
        }
    }

    /// [Polls](Self::poll) without copying or allocating.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    #[inline(always)]
    pub fn poll_ref<'a>(&self, buffer: &'a [u8]) -> Result<MuxPollRef<'a>, MuxError> {
        match self.classify(buffer) {
            LegacyClassification::Legacy => Ok(MuxPollRef::Legacy),
            LegacyClassification::NeedMoreBytes => Ok(MuxPollRef::NeedMoreBytes),
            LegacyClassification::NotLegacy => self.poll_framed(buffer),
        }
    }

    /// Returns the wire of the start of `buffer`. The detector decides; bytes that cannot be a frame are legacy as well.
    #[inline]
    pub(super) fn classify(&self, buffer: &[u8]) -> LegacyClassification {
        let Some(first) = buffer.first() else { return LegacyClassification::NeedMoreBytes };
        match (self.detector)(buffer) {
            LegacyClassification::NotLegacy if *first != ENVELOPE_VERSION => LegacyClassification::Legacy,
            classification => classification,
        }
    }

    /// [Polls](Self::poll_ref) a connection that is known to be framed. The detector is not asked, and a first byte that is
    /// not the framing byte is an error. Never returns [`MuxPollRef::Legacy`].
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    #[inline(always)]
    pub fn poll_framed<'a>(&self, buffer: &'a [u8]) -> Result<MuxPollRef<'a>, MuxError> {
        match complete_body(buffer, MAX_FRAME_BYTES)? {
            Some(body) => self.take(body),
            None => Ok(MuxPollRef::NeedMoreBytes),
        }
    }

    /// Returns the meaning of the frame with this body.
    #[inline(always)]
    pub(super) fn take<'a>(&self, body: &'a [u8]) -> Result<MuxPollRef<'a>, MuxError> {
        let frame = FrameRef::decode(body).map_err(FramingError::Decode)?;
        let consumed = FRAME_HEADER_BYTES + body.len();
        let payload_protocol = frame.payload_protocol;
        if self.serves(payload_protocol) {
            Ok(MuxPollRef::Payload { frame, consumed })
        } else if payload_protocol == BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL {
            Ok(MuxPollRef::Probe { probe: EndpointProbeRequestRef::validate(frame, body.len())?, consumed })
        } else if is_first_party(payload_protocol) {
            Err(MuxError::UnexpectedFirstPartyFrame { payload_protocol })
        } else {
            Err(MuxError::UnservedPayloadProtocol { payload_protocol })
        }
    }

    #[inline(always)]
    #[allow(
        clippy::manual_contains,
        reason = "that is a call, which costs every other answer saved registers"
    )]
    fn serves(&self, payload_protocol: u32) -> bool {
        self.served.iter().any(|served| *served == payload_protocol)
    }

    /// [Takes](Self::take) a frame and copies it into memory of its own.
    #[inline(never)]
    fn take_owned(&self, body: &[u8]) -> Result<MuxPoll, MuxError> {
        Ok(match self.take(body)? {
            MuxPollRef::Payload { frame, consumed } => MuxPoll::Payload { frame: frame.to_frame(), consumed },
            MuxPollRef::Probe { probe, consumed } => {
                MuxPoll::ProbeAnswered { reply: probe_reply(&probe, &self.identity().encoded)?, consumed }
            }
            MuxPollRef::Legacy => MuxPoll::Legacy,
            MuxPollRef::NeedMoreBytes => MuxPoll::NeedMoreBytes,
        })
    }

    /// Appends the framed reply to `probe` to `out`; allocates only if `out` has to grow.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`] if this daemon's identity does not fit a frame.
    pub fn answer(&self, probe: &EndpointProbeRequestRef<'_>, out: &mut Vec<u8>) -> Result<(), FramingError> {
        self.answer_taking(probe, 0, out)
    }

    /// [Answers](Self::answer) with the number of descriptors that this side takes with one frame.
    pub(super) fn answer_taking(
        &self,
        probe: &EndpointProbeRequestRef<'_>,
        accepted_descriptors: u8,
        out: &mut Vec<u8>,
    ) -> Result<(), FramingError> {
        encode_probe_reply(probe, &self.identity().encoded, accepted_descriptors, out)
    }
}

impl<F> fmt::Debug for BackendEndpointMux<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BackendEndpointMux")
            .field("daemon", &self.identity.get().and_then(Option::as_ref).map(|identity| &identity.daemon))
            .field("served", &self.served)
            .finish_non_exhaustive()
    }
}
