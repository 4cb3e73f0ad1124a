//! The mux: the meaning of the bytes of a connection, and the answer to probes.

use crate::boundary::{bytes, check_place, elements, guard, put, store, value};
use crate::frame::RpFrame;
use crate::identity::Identity;
use crate::status::Status;
use running_process::broker::backend_lifecycle::probe::EndpointProbeRequestRef;
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification, MuxError, MuxPollRef};
use running_process::broker::protocol::{FRAME_HEADER_BYTES, try_decode_framed_ref};
use std::ffi::c_void;

/// The verdict of a daemon's detector.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legacy {
    /// The bytes are not the legacy wire: the mux looks for a frame.
    No = 0,
    /// The bytes are the legacy wire.
    Yes = 1,
    /// Too few bytes to tell.
    NeedMoreBytes = 2,
}

/// Recognizes the daemon's legacy wire in everything that a connection has sent and that was not consumed: at least one byte.
/// Returns a `rp_legacy`; any other number counts as `RP_LEGACY_NO`. It must depend on the bytes alone, and must not unwind or
/// jump out. Threads that share the mux call it at once.
pub type Detector = Option<unsafe extern "C" fn(context: *mut c_void, data: *const u8, length: usize) -> i32>;

/// The meaning of the start of a buffer.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes do not decide it yet. Read more, and poll the whole buffer again.
    NeedMoreBytes = 0,
    /// The connection speaks the legacy wire: give it with the whole buffer to the old protocol loop.
    Legacy = 1,
    /// An identity probe: write the bytes of `rp_mux_answer`, drop `consumed` bytes, poll the rest.
    Probe = 2,
    /// A frame for the daemon, of any kind: serve it, drop `consumed` bytes, poll the rest.
    Frame = 3,
    /// The connection cannot go on; the status says why.
    Error = 4,
}

/// The outcome of a poll.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// The meaning of the bytes.
    pub verdict: Verdict,
    /// The bytes that the probe or frame takes, at most those of the buffer; else 0.
    pub consumed: usize,
    /// The probe or frame, whose pointers lead into the buffer. Also stored with `RP_STATUS_FIRST_PARTY` and
    /// `RP_STATUS_UNSERVED`, so that the request can be refused before the connection ends.
    pub frame: RpFrame,
}

impl Poll {
    fn without_frame(verdict: Verdict) -> Self {
        Self { verdict, consumed: 0, frame: RpFrame::EMPTY }
    }

    fn of(poll: &MuxPollRef<'_>) -> Self {
        match poll {
            MuxPollRef::NeedMoreBytes => Self::without_frame(Verdict::NeedMoreBytes),
            MuxPollRef::Legacy => Self::without_frame(Verdict::Legacy),
            MuxPollRef::Probe { probe, consumed } => {
                Self { verdict: Verdict::Probe, consumed: *consumed, frame: RpFrame::of(probe.frame()) }
            }
            MuxPollRef::Payload { frame, consumed } => {
                Self { verdict: Verdict::Frame, consumed: *consumed, frame: RpFrame::of(frame) }
            }
        }
    }

    /// Returns the poll of a buffer that `error` is about.
    fn of_error(error: &MuxError, buffer: &[u8]) -> Self {
        let is_frame = matches!(
            error,
            MuxError::UnexpectedFirstPartyFrame { .. } | MuxError::UnservedPayloadProtocol { .. }
        );
        match try_decode_framed_ref(buffer) {
            Ok(Some(decoded)) if is_frame => Self {
                verdict: Verdict::Error,
                consumed: decoded.consumed,
                frame: RpFrame::of(&decoded.frame),
            },
            _ => Self::without_frame(Verdict::Error),
        }
    }
}

/// Tells a daemon's three kinds of traffic apart. It is immutable: all connections of a daemon share one, from any thread.
#[derive(Debug)]
pub struct Mux(BackendEndpointMux<Detect>);

type Detect = Box<dyn Fn(&[u8]) -> LegacyClassification>;

/// Returns the daemon's detector as a closure.
fn detect(detector: Detector, context: *mut c_void) -> Detect {
    let Some(detector) = detector else { return Box::new(|_| LegacyClassification::NotLegacy) };
    Box::new(move |bytes| {
        // SAFETY: the caller of `rp_mux_new` promised that the detector may be called with its context; the bytes are a slice.
        match unsafe { detector(context, bytes.as_ptr(), bytes.len()) } {
            verdict if verdict == Legacy::Yes as i32 => LegacyClassification::Legacy,
            verdict if verdict == Legacy::NeedMoreBytes as i32 => LegacyClassification::NeedMoreBytes,
            _ => LegacyClassification::NotLegacy,
        }
    })
}

/// Makes a mux for the daemon of `identity`, of which it keeps a copy, and stores it. `served` are the payload protocols of the
/// daemon. Without a detector the bytes are legacy if the first of them is not 1.
///
/// # Safety
///
/// `identity` is one of this library, `served` points to `served_length` ids, and `mux` to memory that may be written. The
/// detector may be called with `context` until the mux is freed, by each thread that polls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_mux_new(
    identity: *const Identity,
    served: *const u32,
    served_length: usize,
    detector: Detector,
    context: *mut c_void,
    mux: *mut *mut Mux,
) -> Status {
    guard(|| {
        check_place(mux)?;
        // SAFETY: the caller's promise.
        let (identity, served) = unsafe { (value(identity)?, elements(served, served_length)?) };
        let made = Mux(BackendEndpointMux::new(identity.0.clone(), served, detect(detector, context)));
        // SAFETY: the caller's promise.
        unsafe { store(mux, Box::into_raw(Box::new(made))) }
    })
}

/// Frees a mux; null is ignored.
///
/// # Safety
///
/// `mux` is null or one of `rp_mux_new` that was not freed, and nothing uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_mux_free(mux: *mut Mux) {
    let _no_panic = guard(|| {
        if !mux.is_null() {
            // SAFETY: made by `Box::into_raw` and not freed, by the caller's promise.
            drop(unsafe { Box::from_raw(mux) });
        }
        Ok(())
    });
}

/// Classifies everything that a connection has sent and that was not consumed yet. Nothing is read, written, kept or consumed,
/// and the outcome is the same however the bytes were cut into reads. A failure ends the connection, and only it.
///
/// # Safety
///
/// `mux` is one of `rp_mux_new`, `data` points to `length` readable bytes, and `poll` to memory that may be written. What is
/// stored there is valid as long as the bytes are unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_mux_poll(
    mux: *const Mux,
    data: *const u8,
    length: usize,
    poll: *mut Poll,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { poll_with(mux, data, length, poll, BackendEndpointMux::poll_ref) }
}

/// Classifies as `rp_mux_poll` does, for a connection on which a frame has arrived: the detector is not asked, and a first byte
/// that is not 1 is an error. The verdict is never `RP_VERDICT_LEGACY`.
///
/// # Safety
///
/// As `rp_mux_poll`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_mux_poll_framed(
    mux: *const Mux,
    data: *const u8,
    length: usize,
    poll: *mut Poll,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { poll_with(mux, data, length, poll, BackendEndpointMux::poll_framed) }
}

/// Classifies by `classify`, and stores the outcome also if it is an error.
///
/// # Safety
///
/// As [`rp_mux_poll`].
unsafe fn poll_with<'a>(
    mux: *const Mux,
    data: *const u8,
    length: usize,
    poll: *mut Poll,
    classify: impl FnOnce(&BackendEndpointMux<Detect>, &'a [u8]) -> Result<MuxPollRef<'a>, MuxError>,
) -> Status {
    guard(|| {
        // Stored first, so that a caller that ignores the status finds no verdict that it did not get.
        // SAFETY: the caller's promise.
        unsafe { store(poll, Poll::without_frame(Verdict::Error)) }?;
        // SAFETY: the caller's promise.
        let (mux, buffer) = unsafe { (value(mux)?, bytes(data, length)?) };
        let (status, outcome) = match classify(&mux.0, buffer) {
            Ok(outcome) => (Ok(()), Poll::of(&outcome)),
            Err(error) => (Err(Status::from(&error)), Poll::of_error(&error, buffer)),
        };
        // SAFETY: the caller's promise.
        unsafe { store(poll, outcome) }?;
        status
    })
}

/// Writes the framed answer to a probe, ready to be sent, and stores its length: the nonce and the identity of the daemon.
/// Measure it with `capacity` 0; it differs by the trace context of the probe alone.
///
/// # Safety
///
/// `mux` is one of `rp_mux_new`. `poll` is the outcome of a poll whose verdict is `RP_VERDICT_PROBE`, and its buffer is unchanged.
/// `out` points to `capacity` writable bytes apart from that buffer, and may be null if `capacity` is 0. `length` points to memory
/// that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_mux_answer(
    mux: *const Mux,
    poll: *const Poll,
    out: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (mux, frame, consumed) = unsafe { (value(mux)?, value(poll)?.frame.borrow()?, (*poll).consumed) };
        let body_length = consumed.saturating_sub(FRAME_HEADER_BYTES);
        let probe =
            EndpointProbeRequestRef::validate(frame, body_length).map_err(|_| Status::MalformedProbe)?;
        let mut reply = Vec::new();
        mux.0.answer(&probe, &mut reply).map_err(|error| Status::from(&error))?;
        // SAFETY: the caller's promise.
        unsafe { put(&[&reply], out, capacity, length) }
    })
}
