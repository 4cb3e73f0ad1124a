//! Shared by the targets: a daemon, a stream that is mostly well-formed, and the reads that it arrives in.

use arbitrary::Arbitrary;
use prost::Message;
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification};
use running_process::broker::protocol::{DaemonProcess, Endpoint, Frame};

/// The payload protocol of the daemon.
pub const SERVED: u32 = 0x7001;

/// A stream, its cuts, and the legacy detector.
#[derive(Arbitrary, Debug)]
pub struct Input {
    pub detector: Detector,
    parts: Vec<Part>,
    cuts: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Part {
    Served {
        kind: u8,
        request_id: u64,
        payload: Vec<u8>,
        tracestate: String,
    },
    Probe {
        nonce: [u8; 32],
        request_id: u64,
        traceparent: String,
    },
    Frame {
        envelope_version: u8,
        kind: i32,
        payload_protocol: u16,
        payload: Vec<u8>,
        payload_encoding: i8,
    },
    /// A frame with a payload that is large for most lengths, and the rest of its body.
    Large {
        kind: u8,
        request_id: u8,
        length: u16,
        behind: Vec<u8>,
    },
    Body(Vec<u8>),
    Bytes(Vec<u8>),
}

/// A consistent legacy detector: once it has decided, more bytes do not change its mind.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Detector {
    Never,
    Undecided,
    /// Legacy starts with this byte.
    First(u8),
    /// Legacy has this byte at this place.
    At(u8, u8),
}

impl Detector {
    pub fn classify(self, bytes: &[u8]) -> LegacyClassification {
        let (place, byte) = match self {
            Self::Never => return LegacyClassification::NotLegacy,
            Self::Undecided => return LegacyClassification::NeedMoreBytes,
            Self::First(byte) => (0, byte),
            Self::At(place, byte) => (usize::from(place), byte),
        };
        match bytes.get(place) {
            None => LegacyClassification::NeedMoreBytes,
            Some(found) if *found == byte => LegacyClassification::Legacy,
            Some(_) => LegacyClassification::NotLegacy,
        }
    }
}

impl Input {
    pub fn stream(&self) -> Vec<u8> {
        self.parts.iter().flat_map(Part::wire).collect()
    }

    /// Returns `stream` in reads; the last read has all bytes after the last cut.
    pub fn reads<'a>(&self, mut stream: &'a [u8]) -> Vec<&'a [u8]> {
        let mut reads = Vec::new();
        for size in &self.cuts {
            let (read, rest) = stream.split_at(usize::from(*size).min(stream.len()));
            reads.push(read);
            stream = rest;
        }
        reads.push(stream);
        reads
    }

    pub fn mux(&self) -> BackendEndpointMux<impl Fn(&[u8]) -> LegacyClassification + use<>> {
        let daemon = DaemonProcess {
            pid: 7,
            exe_path: "/bin/d".into(),
            exe_sha256: vec![7; 32],
            boot_id: "b".into(),
            ipc_endpoint: Some(Endpoint { namespace_id: "demo".into(), path: "/run/demo.sock".into() }),
            ..DaemonProcess::default()
        };
        let detector = self.detector;
        let daemon = daemon.try_into().expect("every field is there");
        BackendEndpointMux::new(daemon, &[SERVED], move |bytes: &[u8]| detector.classify(bytes))
    }
}

impl Part {
    fn wire(&self) -> Vec<u8> {
        let request = |payload_protocol, payload: &[u8]| Frame::request(payload_protocol, payload.to_vec());
        match self {
            Self::Served { kind, request_id, payload, tracestate } => framed(&Frame {
                kind: i32::from(kind % 5),
                request_id: *request_id,
                tracestate: tracestate.clone(),
                ..request(SERVED, payload)
            }),
            Self::Probe { nonce, request_id, traceparent } => framed(&Frame {
                request_id: *request_id,
                traceparent: traceparent.clone(),
                ..request(0xB232, nonce)
            }),
            Self::Frame { envelope_version, kind, payload_protocol, payload, payload_encoding } => {
                framed(&Frame {
                    envelope_version: u32::from(*envelope_version),
                    kind: *kind,
                    payload_encoding: i32::from(*payload_encoding),
                    ..request(u32::from(*payload_protocol), payload)
                })
            }
            Self::Large { kind, request_id, length, behind } => {
                let kind = i32::from(kind % 5);
                let frame = Frame { kind, ..request(SERVED, &vec![7; usize::from(*length)]) };
                let frame = frame.with_request_id(u64::from(*request_id));
                with_header(&[frame.encode_to_vec(), behind.clone()].concat())
            }
            Self::Body(body) => with_header(body),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

fn framed(frame: &Frame) -> Vec<u8> {
    with_header(&frame.encode_to_vec())
}

fn with_header(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("inputs are small").to_le_bytes();
    [&[1], &length[..], body].concat()
}
