//! Streams that are mostly well-formed, the reads in which they arrive, and a daemon.

use crate::script::Script;
use prost::Message;
use running_process::DaemonProcess;
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification};
use running_process::broker::protocol::{
    self, DescriptorFields, Endpoint, Frame, FrameRef, PayloadEncoding, Refusal, encode_payload,
};

/// The payload protocol of the daemon.
pub(crate) const SERVED: u32 = 0x7001;

/// A stream and its cuts.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    cuts: &'a [u8],
    pub(crate) bytes: Vec<u8>,
}

impl<'a> Stream<'a> {
    /// Reads the cuts, and the parts of the stream from the rest of `script`.
    pub(crate) fn read(script: &mut Script<'a>) -> Self {
        let cuts = script.bytes();
        let mut bytes = Vec::new();
        while !script.is_over() {
            part(script, &mut bytes);
        }
        Self { cuts, bytes }
    }

    /// Returns the stream in reads; the last one has all bytes after the last cut.
    pub(crate) fn reads(&self) -> Vec<&[u8]> {
        cut(&self.bytes, self.cuts)
    }
}

/// Returns `bytes` in pieces: of up to 128 bytes each, or of multiples of 64 bytes.
pub(crate) fn cut<'a>(mut bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::with_capacity(cuts.len() + 1);
    for size in cuts {
        let length = if *size < 128 { usize::from(*size) } else { usize::from(*size - 127) * 64 };
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    pieces.push(bytes);
    pieces
}

/// Most bytes of a stream to which large payloads are added: what is copied takes no time from what is decided.
const LARGE_STREAM: usize = 64 * 1024;

fn part(script: &mut Script<'_>, stream: &mut Vec<u8>) {
    let frame = |payload_protocol, payload| FrameRef::request(payload_protocol, 0, payload);
    match script.byte() % 9 {
        0 => {
            let head = FrameRef { kind: kind(script), request_id: script.id(), ..frame(SERVED, &[]) };
            append(&FrameRef { payload: script.bytes(), tracestate: script.text(), ..head }, stream);
        }
        1 => {
            let (nonce, request_id) = ([script.byte(); 32], script.id());
            append(&FrameRef { request_id, traceparent: script.text(), ..frame(0xB232, &nonce) }, stream);
        }
        2 => append(
            &FrameRef {
                envelope_version: script.byte().into(),
                kind: script.byte().cast_signed().into(),
                payload_encoding: script.byte().cast_signed().into(),
                ..frame(script.u16().into(), script.bytes())
            },
            stream,
        ),
        3 => {
            let (kind, request_id, length) = (kind(script), script.id(), script.u16());
            if stream.len() < LARGE_STREAM {
                let payload = vec![7; length.into()];
                append(&FrameRef { kind, request_id, ..frame(SERVED, &payload) }, stream);
            }
        }
        4 => append_body(script.bytes(), stream),
        5 => stream.extend_from_slice(script.bytes()),
        6 => {
            let message = script.text();
            let refusal =
                Refusal { reason: script.byte().into(), message: message.into(), retry_after_ms: None };
            let payload = refusal.encode_to_vec();
            let head = FrameRef { kind: kind(script), request_id: script.id(), ..frame(0, &payload) };
            append(&head, stream);
        }
        7 => {
            let fields = DescriptorFields::NONE.announcing(script.byte() % 4).accepting(script.byte() % 32);
            append(
                &FrameRef {
                    kind: kind(script),
                    request_id: script.id(),
                    accepted_encodings: script.u16().into(),
                    deadline_unix_ms: script.byte().into(),
                    descriptors: fields.of_file(script.flag()),
                    ..frame(SERVED, script.bytes())
                },
                stream,
            );
        }
        _ => {
            let (kind, request_id, encoding) = (kind(script), script.id(), script.byte() % 4);
            let plain = [script.byte(); 600];
            let mut payload = Vec::new();
            let encoding = PayloadEncoding::try_from(i32::from(encoding)).unwrap_or_default();
            if encode_payload(encoding, &plain[..script.u16() as usize % plain.len()], &mut payload).is_ok() {
                let payload_encoding = encoding.into();
                append(&FrameRef { kind, request_id, payload_encoding, ..frame(SERVED, &payload) }, stream);
            }
        }
    }
}

fn kind(script: &mut Script<'_>) -> i32 {
    i32::from(script.byte() % 5)
}

pub(crate) fn append(frame: &FrameRef<'_>, stream: &mut Vec<u8>) {
    frame.encode_framed(stream).expect("inputs are small");
}

/// Appends a frame with this body, which need not be valid.
pub(crate) fn append_body(body: &[u8], stream: &mut Vec<u8>) {
    stream.push(1);
    stream.extend(u32::try_from(body.len()).expect("inputs are small").to_le_bytes());
    stream.extend_from_slice(body);
}

/// A consistent legacy detector: once it has decided, more bytes do not change its mind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Detector {
    Never,
    Undecided,
    /// Legacy has this byte at this place.
    At(u8, u8),
}

impl Detector {
    pub(crate) fn read(script: &mut Script<'_>) -> Self {
        match script.byte() {
            254 => Self::Undecided,
            place @ 128..254 => Self::At(place - 128, script.byte()),
            _ => Self::Never,
        }
    }

    fn classify(self, bytes: &[u8]) -> LegacyClassification {
        let (place, byte) = match self {
            Self::Never => return LegacyClassification::NotLegacy,
            Self::Undecided => return LegacyClassification::NeedMoreBytes,
            Self::At(place, byte) => (usize::from(place), byte),
        };
        match bytes.get(place) {
            None => LegacyClassification::NeedMoreBytes,
            Some(found) if *found == byte => LegacyClassification::Legacy,
            Some(_) => LegacyClassification::NotLegacy,
        }
    }

    /// Returns the mux of a daemon with this detector.
    pub(crate) fn mux(self) -> BackendEndpointMux<impl Fn(&[u8]) -> LegacyClassification> {
        BackendEndpointMux::new(daemon(), &[SERVED], move |bytes: &[u8]| self.classify(bytes))
    }
}

pub(crate) fn daemon() -> DaemonProcess {
    let message = protocol::DaemonProcess {
        pid: 7,
        exe_path: "/bin/d".into(),
        exe_sha256: vec![7; 32],
        boot_id: "b".into(),
        ipc_endpoint: Some(Endpoint { namespace_id: "demo".into(), path: "/run/demo.sock".into() }),
        ..protocol::DaemonProcess::default()
    };
    message.try_into().expect("every field is there")
}

/// Returns the frame and the length of each frame in `bytes`, and the rest, which is no whole frame.
pub(crate) fn frames(mut bytes: &[u8]) -> (Vec<Frame>, &[u8]) {
    let mut frames = Vec::new();
    while let Ok(Some(decoded)) = protocol::try_decode_framed(bytes) {
        bytes = &bytes[decoded.consumed..];
        frames.push(decoded.frame);
    }
    (frames, bytes)
}
