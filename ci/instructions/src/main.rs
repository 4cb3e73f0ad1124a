//! Repeats an operation: `running-process-instructions OPERATION COUNT`. Without arguments it names the operations.

mod driven;

use running_process::broker::backend_sdk::{
    BackendEndpointMux, ClientConnection, ClientEvent, Connection, ConnectionConfig, ConnectionEvent,
    LegacyClassification, MuxPoll, MuxPollRef, ServerConnection, ServerEvent,
};
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{self, Endpoint, Frame, FrameRef, encode_framed};
use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

type Detector = fn(&[u8]) -> LegacyClassification;

const SERVED: u32 = 0xF00D;

/// A name, and what repeats the operation as often as it is told.
type Operation = (&'static str, fn(u64));

const OPERATIONS: [Operation; 16] = [
    ("poll_ref_64_b", |count| poll_ref(&framed(64, 300), count)),
    ("poll_ref_1_mib", |count| poll_ref(&framed(1 << 20, 300), count)),
    ("poll_ref_1_mib_incomplete", |count| poll_ref(&framed(1 << 20, 300)[..1 << 19], count)),
    ("poll_ref_legacy", |count| poll_ref(b"GET / HTTP/1.1\r\n", count)),
    ("poll_64_b", |count| poll(&framed(64, 300), count)),
    ("poll_probe", |count| poll(&probe(), count)),
    ("answer_probe_into_buffer", answer_probe_into_buffer),
    ("encode_64_b_into_buffer", encode_into_buffer),
    ("poll_ref_1000_frames", poll_ref_1000_frames),
    ("connection_1000_frames", connection_1000_frames),
    ("round_64_b", |count| round(false, count)),
    ("round_64_b_admitted", |count| round(true, count)),
    ("session_inline_64_at_once", |count| driven::session_64(true, count)),
    ("session_serve_64_at_once", |count| driven::session_64(false, count)),
    ("client_and_session", |count| driven::client(1, count)),
    ("client_and_session_64_at_once", |count| driven::client(64, count)),
];

fn main() -> Result<(), &'static str> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match &words[..] {
        [] => OPERATIONS.iter().for_each(|(name, _)| println!("{name}")),
        [name, count] => {
            let operation = OPERATIONS.iter().find(|(known, _)| known == name).ok_or("no such operation")?;
            operation.1(count.parse().map_err(|_| "the count is not a number")?);
        }
        _ => return Err("an operation and a count"),
    }
    Ok(())
}

fn mux() -> BackendEndpointMux<Detector> {
    let message = protocol::DaemonProcess {
        pid: 4242,
        exe_path: "/usr/lib/demo/daemon".into(),
        exe_sha256: vec![0x5a; 32],
        exe_hash_algorithm: "blake3".into(),
        exe_hash: vec![0xa5; 32],
        ipc_endpoint: Some(Endpoint { namespace_id: "demo".into(), path: "/run/user/1000/demo.sock".into() }),
        started_at_unix_ms: 1_767_225_600_123,
        boot_id: "6f1d8a52-95f6-4b2e-8f3f-0d9c3e1f7a55".into(),
        ..Default::default()
    };
    let daemon = message.try_into().expect("every field is there");
    BackendEndpointMux::new(daemon, &[SERVED], |_| LegacyClassification::NotLegacy)
}

/// Returns a request with a payload of that length.
fn framed(payload: usize, request_id: u64) -> Vec<u8> {
    encode_framed(&Frame::request(SERVED, vec![7; payload]).with_request_id(request_id)).expect("it fits")
}

fn probe() -> Vec<u8> {
    let request = Frame::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, vec![7; 32]);
    encode_framed(&request.with_request_id(300)).expect("it fits")
}

fn poll_ref(buffer: &[u8], count: u64) {
    let mux = mux();
    for _ in 0..count {
        let _ = black_box(mux.poll_ref(black_box(buffer)));
    }
}

fn poll(buffer: &[u8], count: u64) {
    let mux = mux();
    for _ in 0..count {
        let answer: Result<MuxPoll, _> = mux.poll(black_box(buffer));
        drop(black_box(answer));
    }
}

fn answer_probe_into_buffer(count: u64) {
    let (mux, buffer) = (mux(), probe());
    let mut out = Vec::with_capacity(1024);
    for _ in 0..count {
        let Ok(MuxPollRef::Probe { probe, .. }) = mux.poll_ref(black_box(&buffer)) else { panic!("a probe") };
        out.clear();
        mux.answer(&probe, &mut out).expect("it fits");
        black_box(&out);
    }
}

fn encode_into_buffer(count: u64) {
    let payload = [7; 64];
    let mut out = Vec::with_capacity(1024);
    for _ in 0..count {
        out.clear();
        black_box(FrameRef::request(SERVED, 300, black_box(&payload)))
            .encode_framed(&mut out)
            .expect("it fits");
        black_box(&out);
    }
}

fn poll_ref_1000_frames(count: u64) {
    let (mux, stream) = (mux(), framed(64, 300).repeat(1000));
    for _ in 0..count {
        let mut rest = black_box(&stream[..]);
        while let Ok(MuxPollRef::Payload { frame, consumed }) = mux.poll_ref(rest) {
            black_box(frame);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
    }
}

fn connection_1000_frames(count: u64) {
    let stream = framed(64, 300).repeat(1000);
    let now = Instant::now();
    let mut connection = Connection::new(Arc::new(mux()), ConnectionConfig::default(), now);
    for _ in 0..count {
        connection.receive(black_box(&stream), now);
        let mut taken = 0;
        while let Some(event) = connection.next_event().expect("good frames") {
            let ConnectionEvent::Request(request) = event else { panic!("a request") };
            black_box(request.payload());
            taken += 1;
        }
        assert_eq!(taken, 1000);
    }
}

/// Passes a request and its response through both state machines: answered at once, or admitted and answered then.
fn round(admitted: bool, count: u64) {
    let now = Instant::now();
    let enough_output = 1 << 20;
    let mut client = ClientConnection::new();
    let mut server: ServerConnection<Detector> =
        ServerConnection::new(Arc::new(mux()), ConnectionConfig::default(), enough_output, now);
    let payload = [7; 64];
    for _ in 0..count {
        client.send_request(SERVED, Cow::Borrowed(black_box(&payload[..]))).expect("it fits");
        server.receive(client.output(), now);
        client.output_written(client.output().len());
        let mut call = None;
        while let Some(event) = server.next_event().expect("a good frame") {
            let ServerEvent::Request(request) = event else { panic!("a request") };
            if admitted {
                call = Some((request.payload().to_vec(), request.admit(None)));
            } else {
                let payload = request.payload().to_vec();
                request.respond(payload).expect("it fits");
            }
        }
        if let Some((payload, call)) = call {
            server.respond(call, payload).expect("it fits");
        }
        client.receive(server.output());
        server.output_written(server.output().len(), now);
        while let Some(event) = client.next_event().expect("a good frame") {
            let ClientEvent::Response(_, frame) = event else { panic!("a response") };
            black_box(frame);
        }
    }
}
