//! Bytes recorded from published peers, which no encoder under test produced.

use prost::Message;
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, ExeDigests};
use running_process::broker::backend_lifecycle::probe::{
    EndpointProbeChallenge, EndpointProbeRequest, endpoint_probe_request_from_frame,
    endpoint_probe_response_frame, handle_endpoint_probe,
};
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification, MuxPoll, MuxPollRef};
use running_process::broker::protocol::FrameRef;
use running_process::broker::protocol::{
    self, DecodedFramed, DecodedFramedRef, Endpoint, Frame, encode_framed, read_frame, try_decode_framed,
    try_decode_framed_ref, write_frame,
};
use serde_json::Value;
use std::io::{self, Cursor, Read, Write};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/v1.json")).expect("the vectors are JSON")
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().expect("a string of hex digits").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
    digits.chunks(2).map(|pair| byte(pair).expect("two hex digits")).collect()
}

fn digest(hex: &Value) -> [u8; 32] {
    bytes(hex).try_into().expect("32 bytes")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    let number = value.as_u64().expect("a number");
    T::try_from(number).unwrap_or_else(|_| panic!("{number} does not fit"))
}

fn recorded_frame(fields: &Value) -> Frame {
    Frame {
        envelope_version: number(&fields["envelope_version"]),
        kind: number(&fields["kind"]),
        payload_protocol: number(&fields["payload_protocol"]),
        payload: bytes(&fields["payload"]),
        request_id: number(&fields["request_id"]),
        payload_encoding: number(&fields["payload_encoding"]),
        deadline_unix_ms: number(&fields["deadline_unix_ms"]),
        traceparent: text(&fields["traceparent"]),
        tracestate: text(&fields["tracestate"]),
    }
}

/// Calls `check` with the name, the fields and the wire of every frame.
fn for_each_frame(check: impl Fn(&str, &Frame, &[u8])) {
    let vectors = vectors();
    let frames = vectors["frames"].as_array().expect("a list of frames");
    assert!(frames.len() >= 11);
    for vector in frames {
        check(&text(&vector["name"]), &recorded_frame(&vector["fields"]), &bytes(&vector["wire"]));
    }
}

#[test]
fn every_recorded_frame_is_written_byte_for_byte() {
    for_each_frame(|name, frame, wire| {
        assert_eq!(encode_framed(frame).unwrap(), wire, "{name}");
        let mut borrowed = Vec::new();
        frame.borrowed().encode_framed(&mut borrowed).unwrap();
        assert_eq!(borrowed, wire, "{name}");
        let mut written = Vec::new();
        assert_eq!(write_frame(&mut written, &wire[5..]).unwrap(), wire.len(), "{name}");
        assert_eq!(written, wire, "{name}");
    });
}

#[test]
fn every_recorded_frame_is_read_with_the_fields_it_was_made_of() {
    for_each_frame(|name, frame, wire| {
        let consumed = wire.len();
        let owned = try_decode_framed(wire).unwrap();
        assert_eq!(owned, Some(DecodedFramed { frame: frame.clone(), consumed }), "{name}");
        let borrowed = try_decode_framed_ref(wire).unwrap();
        assert_eq!(borrowed, Some(DecodedFramedRef { frame: frame.borrowed(), consumed }), "{name}");
        assert_eq!(read_frame(&mut &wire[..]).unwrap(), &wire[5..], "{name}");
    });
}

#[test]
fn recorded_frames_are_read_one_by_one_from_one_buffer() {
    let vectors = vectors();
    let frames = vectors["frames"].as_array().unwrap();
    let stream = frames.iter().flat_map(|vector| bytes(&vector["wire"])).collect::<Vec<u8>>();
    let mut rest = &stream[..];
    for vector in frames {
        let decoded = try_decode_framed(rest).unwrap().unwrap();
        assert_eq!(decoded.frame, recorded_frame(&vector["fields"]));
        rest = &rest[decoded.consumed..];
    }
    assert!(rest.is_empty());
}

struct Generation {
    probe: Value,
    daemon: DaemonProcess,
}

/// The recorded probe of each generation, and the daemon that answered it.
fn generations() -> [Generation; 2] {
    let vectors = vectors();
    let (sha256, blake3) =
        (digest(&vectors["identity"]["exe_sha256"]), digest(&vectors["identity"]["exe_blake3"]));
    let generation = |probe: &str, digests: ExeDigests| Generation {
        probe: vectors[probe].clone(),
        daemon: recorded_daemon(&vectors["identity"], digests),
    };
    [
        generation("probe_4_5_7", ExeDigests::Sha256(sha256)),
        generation("probe_4_10_21", ExeDigests::Both { sha256, blake3 }),
    ]
}

fn recorded_daemon(identity: &Value, digests: ExeDigests) -> DaemonProcess {
    let daemon = protocol::DaemonProcess {
        pid: number(&identity["pid"]),
        exe_path: text(&identity["exe_path"]),
        exe_sha256: digests.sha256().map_or_else(Vec::new, |digest| digest.to_vec()),
        ipc_endpoint: Some(Endpoint {
            namespace_id: text(&identity["namespace_id"]),
            path: text(&identity["path"]),
        }),
        started_at_unix_ms: number(&identity["started_at_unix_ms"]),
        boot_id: text(&identity["boot_id"]),
        idle_timeout_secs: Some(number(&identity["idle_timeout_secs"])),
        exe_hash_algorithm: digests.blake3().map_or("", |_| "blake3").into(),
        exe_hash: digests.blake3().map_or_else(Vec::new, |digest| digest.to_vec()),
    };
    let daemon: DaemonProcess = daemon.try_into().expect("every field is there");
    assert_eq!(daemon.exe_digests, digests);
    daemon
}

fn recorded_challenge() -> EndpointProbeChallenge {
    let vectors = vectors();
    EndpointProbeChallenge::new(digest(&vectors["probe_nonce"]), number(&vectors["probe_request_id"]))
}

fn recorded_request(generation: &Generation) -> EndpointProbeRequest {
    let wire = bytes(&generation.probe["request_wire"]);
    let decoded = try_decode_framed(&wire).expect("a frame").expect("a whole one");
    endpoint_probe_request_from_frame(&decoded.frame).expect("a probe")
}

fn mux(daemon: DaemonProcess) -> BackendEndpointMux<impl Fn(&[u8]) -> LegacyClassification> {
    BackendEndpointMux::new(daemon, &[], |_| LegacyClassification::NotLegacy)
}

#[test]
fn a_challenge_is_sent_as_every_generation_sends_it() {
    for generation in generations() {
        let mut wire = Vec::new();
        recorded_challenge().request().encode_framed(&mut wire).unwrap();
        assert_eq!(wire, bytes(&generation.probe["request_wire"]));
    }
}

#[test]
fn a_probe_of_either_generation_is_recognized() {
    for generation in generations() {
        let request = recorded_request(&generation);
        assert_eq!(request.nonce, digest(&vectors()["probe_nonce"]));
        assert_eq!(request.request_id, number::<u64>(&vectors()["probe_request_id"]));
        assert_eq!((request.traceparent.as_str(), request.tracestate.as_str()), ("", ""));

        let wire = bytes(&generation.probe["request_wire"]);
        match mux(generation.daemon).poll_ref(&wire).unwrap() {
            MuxPollRef::Probe { probe, consumed } => {
                assert_eq!((probe.frame().payload, consumed), (&request.nonce[..], wire.len()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_probe_is_answered_byte_for_byte_as_its_generation_answers_it() {
    for generation in generations() {
        let request_wire = bytes(&generation.probe["request_wire"]);
        let response_wire = bytes(&generation.probe["response_wire"]);

        let frame = endpoint_probe_response_frame(&recorded_request(&generation), &generation.daemon);
        assert_eq!(encode_framed(&frame).unwrap(), response_wire);

        let mut stream = Recorded { input: Cursor::new(request_wire.clone()), output: Vec::new() };
        handle_endpoint_probe(&mut stream, &generation.daemon).unwrap();
        assert_eq!(stream.output, response_wire);

        let consumed = request_wire.len();
        let answered = mux(generation.daemon).poll(&request_wire).unwrap();
        assert_eq!(answered, MuxPoll::ProbeAnswered { reply: response_wire, consumed });
    }
}

#[test]
fn a_recorded_answer_proves_the_identity_that_gave_it() {
    for generation in generations() {
        let wire = bytes(&generation.probe["response_wire"]);
        let answer = try_decode_framed_ref(&wire).unwrap().unwrap();
        let identity = recorded_challenge().identity(&answer.frame).unwrap();
        assert_eq!(identity, generation.daemon);
    }
}

#[test]
fn a_recorded_answer_does_not_answer_another_challenge() {
    let wire = bytes(&generations()[1].probe["response_wire"]);
    let answer = try_decode_framed_ref(&wire).unwrap().unwrap();
    let (nonce, id) = (digest(&vectors()["probe_nonce"]), number(&vectors()["probe_request_id"]));
    let other_nonce = EndpointProbeChallenge::new([0; 32], id);
    assert_eq!(
        other_nonce.identity(&answer.frame).unwrap_err().to_string(),
        "probe response does not echo the nonce"
    );
    let other_id = EndpointProbeChallenge::new(nonce, 1);
    assert_eq!(
        other_id.identity(&answer.frame).unwrap_err().to_string(),
        format!("probe response has request id {id}, expected 1")
    );
}

/// Gives a recording to its reader, and keeps the bytes that are written.
struct Recorded {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "host")]
mod identity_files {
    use super::*;

    const FILES: [&str; 2] = ["identity_file_4_5_7", "identity_file_4_10_21"];

    #[test]
    fn the_file_of_either_generation_is_read() {
        for (file, generation) in FILES.into_iter().zip(generations()) {
            let daemon: DaemonProcess = serde_json::from_value(vectors()[file].clone()).unwrap();
            assert_eq!(daemon, generation.daemon, "{file}");
        }
    }

    #[test]
    fn a_file_of_the_second_generation_may_lack_the_digest_of_the_first() {
        let mut file = vectors()[FILES[1]].clone();
        file.as_object_mut().unwrap().remove("legacy_exe_sha256");
        let daemon: DaemonProcess = serde_json::from_value(file).unwrap();
        assert_eq!(daemon.exe_digests, ExeDigests::Blake3(digest(&vectors()["identity"]["exe_blake3"])));
    }

    #[test]
    fn what_is_written_has_every_field_of_either_generation() {
        let [_, generation] = generations();
        let written = serde_json::to_value(&generation.daemon).unwrap();
        for file in FILES {
            for (field, value) in vectors()[file].as_object().unwrap() {
                assert_eq!(&written[field], value, "{field} of {file}");
            }
        }
        assert_eq!(serde_json::from_value::<DaemonProcess>(written).unwrap(), generation.daemon);
    }

    #[test]
    fn fields_of_others_are_skipped_and_missing_ones_named() {
        let mut file = vectors()[FILES[1]].clone();
        let fields = file.as_object_mut().unwrap();
        fields.insert("of_another".into(), Value::from(1));
        assert!(serde_json::from_value::<DaemonProcess>(file.clone()).is_ok());
        for field in ["pid", "exe_path", "boot_id", "ipc_endpoint", "started_at_unix_ms"] {
            let mut file = file.clone();
            file.as_object_mut().unwrap().remove(field);
            let error = serde_json::from_value::<DaemonProcess>(file).unwrap_err();
            assert!(error.to_string().contains(field), "{error}");
        }
    }
}

#[test]
fn fields_with_equal_numbers_are_all_written() {
    let plain = Frame::request(0xF00D, b"payload".to_vec());
    let frames = [
        (1, Frame { traceparent: "a".into(), tracestate: "b".into(), ..plain.clone() }),
        (1, Frame { payload_encoding: 1, deadline_unix_ms: 1, ..plain.clone() }),
        (2, Frame { payload_encoding: 2, traceparent: "ab".into(), ..plain.clone() }),
        (3, Frame { deadline_unix_ms: 3, tracestate: "abc".into(), ..plain.clone() }),
        (4, Frame { tracestate: "abcd".into(), ..plain }),
    ];
    for (number, frame) in frames {
        assert_eq!(encode_framed(&frame).unwrap()[5..], frame.encode_to_vec());
        // A field of our own, behind those of prost, has the same number.
        let own = FrameRef { accepted_encodings: number, ..frame.borrowed() };
        let mut wire = Vec::new();
        own.encode_framed(&mut wire).unwrap();
        assert_eq!(try_decode_framed_ref(&wire).unwrap().unwrap().frame, own);
    }
}
