//! Helpers of several test binaries: a daemon, frames on the wire, streams of them and ways to cut these.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod detectors;
pub(crate) mod protobuf;
pub(crate) mod streams;
pub(crate) mod watch;

use prost::Message;
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification};
use running_process::broker::protocol::{self, Endpoint, Frame, FrameKind};
use std::error::Error;

/// The payload protocol that the daemon under test serves.
pub(crate) const SERVED: u32 = 0x7001;
/// A consumer's id that the daemon does not serve.
pub(crate) const UNSERVED: u32 = 0x7002;
/// The payload protocol of the identity probe.
pub(crate) const PROBE: u32 = 0xB232;

pub(crate) type Detector = fn(&[u8]) -> LegacyClassification;

pub(crate) fn daemon() -> DaemonProcess {
    let message = protocol::DaemonProcess {
        pid: 4242,
        exe_path: "/usr/lib/demo/daemon".into(),
        exe_sha256: vec![0x5a; 32],
        ipc_endpoint: Some(Endpoint { namespace_id: "demo".into(), path: "/run/demo.sock".into() }),
        started_at_unix_ms: 1_767_225_600_123,
        boot_id: "6f1d8a52".into(),
        ..Default::default()
    };
    message.try_into().expect("every field is there")
}

pub(crate) fn mux(detector: Detector) -> BackendEndpointMux<Detector> {
    BackendEndpointMux::new(daemon(), &[SERVED], detector)
}

/// Returns `body` after its header, composed without the library.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a test body is small").to_le_bytes();
    [&[1], &length[..], body].concat()
}

/// Returns the frame as prost encodes it, after a header.
pub(crate) fn wire(frame: &Frame) -> Vec<u8> {
    framed(&frame.encode_to_vec())
}

/// Returns a frame of the served protocol.
pub(crate) fn frame(kind: FrameKind, request_id: u64, payload: &[u8]) -> Frame {
    Frame {
        envelope_version: 1,
        kind: kind.into(),
        payload_protocol: SERVED,
        payload: payload.to_vec(),
        request_id,
        ..Frame::default()
    }
}

/// Returns a valid identity probe.
pub(crate) fn probe(request_id: u64) -> Frame {
    Frame { payload_protocol: PROBE, ..frame(FrameKind::Request, request_id, &[7; 32]) }
}

/// Returns the error and its causes, as a person reads them.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
