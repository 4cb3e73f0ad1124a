//! Counts of allocations and moves: nothing from a length that a peer claims, nothing per frame, linear over all.

use crate::common::{Detector, SERVED, UNSERVED, detectors, frame, framed, mux, probe, wire};
use crate::tally::{held, tally};
use running_process::broker::backend_sdk::{
    BackendEndpointMux, ClientConnection, ClientEvent, Connection, ConnectionConfig, ConnectionEvent,
    LegacyClassification, MuxPoll, MuxPollRef, Reclassify, ServerConnection, ServerEvent,
};
#[cfg(feature = "lz4")]
use running_process::broker::protocol::encode_payload;
#[cfg(any(feature = "lz4", feature = "snappy", feature = "zstd"))]
use running_process::broker::protocol::{DecodePayloadError, PayloadEncoding, decode_payload};
use running_process::broker::protocol::{
    Frame, FrameKind, FrameRef, MAX_FRAME_BYTES, encode_framed, read_frame, try_decode_framed,
    try_decode_framed_ref, write_framed,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The first message may be as large as any.
fn with_large_first() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.first_message_bytes = usize::MAX;
    config
}

fn connection(detector: Detector, config: ConnectionConfig) -> Connection<Detector> {
    Connection::new(Arc::new(mux(detector)), config, Instant::now())
}

#[test]
fn the_tally_counts() {
    let (vector, spent) = tally(|| vec![0_u8; 1000]);
    assert_eq!((spent.calls, spent.bytes, spent.held), (1, 1000, 1000));
    let ((), spent) = tally(|| drop(vector));
    assert_eq!((spent.calls, spent.held), (0, -1000));
}

#[test]
fn polling_allocates_nothing_whatever_the_answer() {
    let mux = mux(detectors::asterisk);
    let served = wire(&frame(FrameKind::Request, 1, &[7; 5000]));
    let unserved = wire(&Frame { payload_protocol: UNSERVED, ..frame(FrameKind::Request, 1, b"") });
    let buffers = [
        b"".to_vec(),
        b"*1".to_vec(),
        b"x".to_vec(),
        served[..4000].to_vec(),
        served,
        wire(&probe(1)),
        unserved,
    ];
    for buffer in &buffers {
        let (answer, spent) = tally(|| mux.poll_ref(buffer));
        assert_eq!(spent.calls, 0, "{answer:?}");
    }
}

#[test]
fn a_frame_is_polled_out_of_its_buffer_in_one_allocation_of_the_payloads_size() {
    let mux = mux(detectors::never);
    for length in [0, 1, 64, 1 << 20] {
        let wire = wire(&frame(FrameKind::Request, 1, &vec![7; length]));
        let (answer, spent) = tally(|| mux.poll(&wire));
        assert!(matches!(answer, Ok(MuxPoll::Payload { .. })), "{answer:?}");
        assert_eq!((spent.calls, spent.bytes), (usize::from(length > 0), length));
    }
}

#[test]
fn a_frame_is_decoded_where_it_lies_or_in_one_allocation_of_the_payloads_size() {
    for length in [0, 64, 1 << 20] {
        let wire = wire(&frame(FrameKind::Request, 1, &vec![7; length]));
        let (decoded, spent) = tally(|| try_decode_framed_ref(&wire).unwrap().unwrap());
        assert_eq!((decoded.frame.payload.len(), spent.calls), (length, 0));
        let (decoded, spent) = tally(|| try_decode_framed(&wire).unwrap().unwrap());
        assert_eq!(decoded.frame.payload.len(), length);
        assert_eq!((spent.calls, spent.bytes), (usize::from(length > 0), length));
    }
}

#[test]
fn a_probe_is_answered_in_one_allocation_of_the_replys_size() {
    let mux = mux(detectors::never);
    let wire = wire(&probe(1));
    let (answer, spent) = tally(|| mux.poll(&wire));
    let Ok(MuxPoll::ProbeAnswered { reply, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((spent.calls, spent.bytes), (1, reply.len()));
}

#[test]
fn a_probe_is_answered_into_a_warm_buffer_without_allocating() {
    let mux = mux(detectors::never);
    let wire = wire(&probe(1));
    let MuxPollRef::Probe { probe, .. } = mux.poll_ref(&wire).unwrap() else { panic!("a probe") };
    let mut out = Vec::with_capacity(1024);
    let ((), spent) = tally(|| mux.answer(&probe, &mut out).unwrap());
    assert_eq!(spent.calls, 0);
    assert!(!out.is_empty());
}

#[test]
fn a_frame_is_encoded_in_one_allocation_of_its_size() {
    let frame = frame(FrameKind::Request, 1, &[7; 5000]);
    let mut out = Vec::new();
    let ((), spent) = tally(|| frame.borrowed().encode_framed(&mut out).unwrap());
    assert_eq!((spent.calls, spent.bytes), (1, out.len()));
    out.clear();
    let ((), spent) = tally(|| frame.borrowed().encode_framed(&mut out).unwrap());
    assert_eq!(spent.calls, 0);
}

#[test]
fn an_owned_frame_is_encoded_in_one_allocation_of_its_size() {
    for length in [0, 64, 1 << 20] {
        let frame = Frame { tracestate: "state".into(), ..frame(FrameKind::Request, 1, &vec![7; length]) };
        let (out, spent) = tally(|| encode_framed(&frame).unwrap());
        assert_eq!((spent.calls, spent.bytes), (1, out.len()));
        assert_eq!(out.capacity(), out.len());
    }
}

#[test]
fn a_frame_is_written_with_little_memory_whatever_its_payload() {
    for length in [0, 64, 1 << 20] {
        let frame = frame(FrameKind::Request, 1, &vec![7; length]);
        let (result, spent) = tally(|| write_framed(&mut std::io::sink(), &frame.borrowed()));
        assert_eq!(result.unwrap(), wire(&frame).len());
        assert!(spent.calls == 1 && spent.bytes < 64, "{spent:?}");
    }
}

#[test]
fn a_warm_connection_serves_without_allocating() {
    let mut connection = connection(detectors::never, ConnectionConfig::default());
    let messages = [
        frame(FrameKind::Request, 1, &[7; 100]),
        probe(2),
        frame(FrameKind::Event, 3, b"x"),
        frame(FrameKind::Cancel, 1, b""),
    ];
    let stream = messages.iter().flat_map(wire).collect::<Vec<u8>>().repeat(50);
    let now = Instant::now();
    let mut serve = || {
        let mut events = 0;
        for read in stream.chunks(1000) {
            connection.receive(read, now);
            while let Some(event) = connection.next_event().unwrap() {
                events += 1;
                if let ConnectionEvent::Request(mut request) = event {
                    let payload = request.payload();
                    request.respond(payload).unwrap();
                }
            }
            let length = connection.output().len();
            connection.output_written(length, now);
        }
        events
    };
    assert_eq!(serve(), 200);
    let (events, spent) = tally(serve);
    assert_eq!((events, spent.calls), (200, 0));
}

#[test]
fn a_warm_client_sends_and_correlates_without_allocating() {
    let mut client = ClientConnection::new();
    let mut response = Vec::with_capacity(1024);
    let mut exchange = || {
        for _ in 0..100 {
            let request = client.send_request(SERVED, b"ping").unwrap();
            response.clear();
            let decoded = FrameRef::decode(&client.output()[5..]).unwrap();
            FrameRef::response_to(&decoded, b"pong").encode_framed(&mut response).unwrap();
            client.output_written(client.output().len());
            client.receive(&response);
            let event = client.next_event().unwrap();
            assert!(matches!(event, Some(ClientEvent::Response(id, _)) if id == request));
        }
    };
    // Twice, so that the ids have the length that they have from then on.
    exchange();
    exchange();
    let ((), spent) = tally(exchange);
    assert_eq!(spent.calls, 0);
}

#[test]
fn a_length_that_a_peer_claims_allocates_nothing() {
    let header = [1, 0, 0, 0, 1];
    let mut connection = connection(detectors::never, with_large_first());
    let mut client = ClientConnection::new();
    let ((), spent) = tally(|| {
        connection.receive(&header, Instant::now());
        assert!(connection.next_event().unwrap().is_none());
        client.receive(&header);
        assert!(client.next_event().unwrap().is_none());
        assert!(read_frame(&mut &header[..]).is_err());
    });
    assert!(spent.peak < 1000, "{spent:?}");
}

#[test]
fn memory_follows_what_was_received() {
    let mut connection = connection(detectors::never, with_large_first());
    let mut received = vec![1, 0, 0, 0, 1];
    received.resize(1 << 20, 0);
    let mut total = 0;
    let ((), spent) = tally(|| {
        let start = held();
        for read in received.chunks(4096) {
            connection.receive(read, Instant::now());
            assert!(connection.next_event().unwrap().is_none());
            total += read.len();
            let held = usize::try_from(held() - start).unwrap();
            assert!(held <= 2 * total + 4096, "{held} bytes for {total} received");
        }
    });
    // Growing by doubling asks for at most as much again as is held in the end.
    assert!(spent.bytes <= 4 * received.len(), "{spent:?}");
}

#[test]
fn a_truncated_frame_on_a_reader_takes_memory_for_what_came() {
    let mut stream = vec![1, 0, 0, 0, 1];
    stream.resize(100_000, 0);
    let (result, spent) = tally(|| read_frame(&mut &stream[..]));
    assert!(result.is_err());
    assert!(spent.peak < 400_000, "{spent:?}");
}

#[test]
fn a_large_message_leaves_no_memory_behind_even_with_the_next_one_begun() {
    let mut connection = connection(detectors::never, with_large_first());
    let large = wire(&frame(FrameKind::Event, 1, &vec![7; MAX_FRAME_BYTES - 100]));
    let ((), spent) = tally(|| {
        for read in large.chunks(64 * 1024).chain([&[1_u8][..]]) {
            connection.receive(read, Instant::now());
            while connection.next_event().unwrap().is_some() {}
        }
        assert!(connection.next_event().unwrap().is_none());
        assert_eq!(connection.buffered(), 1);
    });
    assert!(spent.held <= 128 * 1024, "{spent:?}");
}

/// Many small frames in one buffer.
const PIPELINED: usize = 200_000;

fn pipelined() -> Vec<u8> {
    wire(&frame(FrameKind::Event, 1, b"payload")).repeat(PIPELINED)
}

#[test]
fn many_pipelined_frames_are_polled_where_they_lie() {
    let stream = pipelined();
    let mux = mux(detectors::never);
    let (frames, spent) = tally(|| {
        let (mut at, mut frames) = (0, 0);
        while at < stream.len() {
            let answer = mux.poll_ref(&stream[at..]);
            let Ok(MuxPollRef::Payload { frame, consumed }) = answer else { panic!("{answer:?}") };
            assert!(stream[at..at + consumed].as_ptr_range().contains(&frame.payload.as_ptr()));
            at += consumed;
            frames += 1;
        }
        frames
    });
    assert_eq!((frames, spent.calls), (PIPELINED, 0));
}

#[test]
fn many_pipelined_frames_are_taken_with_linear_work() {
    let stream = pipelined();
    let mut connection = connection(detectors::never, ConnectionConfig::default());
    connection.receive(&stream, Instant::now());
    let (events, spent) = tally(|| moved_and_taken(&mut connection, stream.len() / PIPELINED));
    let (moved, taken) = events;
    assert_eq!(taken, PIPELINED);
    assert!(moved <= stream.len(), "{moved} bytes were moved for {} received", stream.len());
    assert!(spent.calls < 20 && spent.bytes <= 2 * stream.len(), "{spent:?}");
}

#[test]
fn many_pipelined_frames_that_arrive_in_reads_are_taken_with_linear_work() {
    let stream = pipelined();
    let mut connection = connection(detectors::never, ConnectionConfig::default());
    let (mut moved, mut taken) = (0, 0);
    let ((), spent) = tally(|| {
        for read in stream.chunks(10_007) {
            let before = connection.buffered();
            connection.receive(read, Instant::now());
            let events = moved_and_taken(&mut connection, stream.len() / PIPELINED);
            // Whatever `receive` may have moved, it was no more than what was there.
            moved += before + events.0;
            taken += events.1;
        }
    });
    assert_eq!(taken, PIPELINED);
    assert!(moved <= stream.len(), "{moved} bytes were moved for {} received", stream.len());
    assert!(spent.bytes <= 200_000, "{spent:?}");
}

/// Takes every event. Where a payload does not lie right behind the one before it, the buffer was moved to the front.
fn moved_and_taken(connection: &mut Connection<Detector>, frame_length: usize) -> (usize, usize) {
    let (mut moved, mut taken, mut expected) = (0, 0, None);
    loop {
        let buffered = connection.buffered();
        let Some(event) = connection.next_event().expect("good frames") else { return (moved, taken) };
        let ConnectionEvent::Event(frame) = event else { panic!("{event:?}") };
        let address = frame.payload.as_ptr().addr();
        moved += if expected.is_none_or(|expected| expected == address) { 0 } else { buffered };
        expected = Some(address + frame_length);
        taken += 1;
    }
}

#[test]
fn many_pipelined_requests_are_answered_in_the_allocations_of_their_answers() {
    let requests = wire(&frame(FrameKind::Request, 1, b"payload")).repeat(PIPELINED);
    let now = Instant::now();
    let enough = 32 * 1024;
    let mux = Arc::new(mux(detectors::never));
    let mut server = ServerConnection::<_>::new(mux, ConnectionConfig::default(), enough, now);
    let (answered, spent) = tally(|| {
        server.receive(&requests, now);
        let mut answered = 0;
        loop {
            while let Some(event) = server.next_event().unwrap() {
                let ServerEvent::Request(call) = event else { panic!("{event:?}") };
                let payload = call.payload().to_vec();
                call.respond(payload).unwrap();
                answered += 1;
            }
            match server.output().len() {
                0 => return answered,
                length => server.output_written(length, now),
            }
        }
    });
    assert_eq!(answered, PIPELINED);
    let answers = PIPELINED * b"payload".len();
    assert!(spent.calls <= PIPELINED + 50, "{spent:?}");
    // The buffer is filled once, and asks for less as it empties.
    assert!(spent.bytes <= answers + 2 * requests.len() + 4 * enough, "{spent:?}");
}

#[test]
fn many_pipelined_answers_are_taken_without_allocating() {
    let mut client = ClientConnection::new();
    let mut answers = Vec::new();
    for _ in 0..PIPELINED {
        client.send_request(SERVED, b"ping").unwrap();
        let sent = try_decode_framed_ref(client.output()).unwrap().unwrap();
        FrameRef::response_to(&sent.frame, b"pong").encode_framed(&mut answers).unwrap();
        client.output_written(client.output().len());
    }
    client.receive(&answers);
    let (taken, spent) = tally(|| {
        let mut taken = 0;
        while let Some(event) = client.next_event().unwrap() {
            assert!(matches!(event, ClientEvent::Response(..)), "{event:?}");
            taken += 1;
        }
        taken
    });
    assert_eq!(taken, PIPELINED);
    // The buffer that becomes smaller asks for the memory that it keeps.
    assert!(spent.calls < 20 && spent.bytes <= answers.len(), "{spent:?}");
}

#[test]
fn a_detector_is_asked_once_a_message_or_a_read() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    fn counted(_: &[u8]) -> LegacyClassification {
        ASKED.fetch_add(1, Ordering::Relaxed);
        LegacyClassification::NotLegacy
    }
    let mut every_message = ConnectionConfig::default();
    every_message.reclassify = Reclassify::EveryMessage;
    let messages = 1000;
    let stream = wire(&frame(FrameKind::Event, 1, b"payload")).repeat(messages);
    for (config, most) in
        [(ConnectionConfig::default(), 1), (every_message, messages + stream.len() / 100 + 1)]
    {
        let mux = BackendEndpointMux::new(crate::common::daemon(), &[SERVED], counted as Detector);
        let mut connection = Connection::new(Arc::new(mux), config, Instant::now());
        ASKED.store(0, Ordering::Relaxed);
        for read in stream.chunks(100) {
            connection.receive(read, Instant::now());
            while connection.next_event().unwrap().is_some() {}
        }
        assert!((1..=most).contains(&ASKED.load(Ordering::Relaxed)), "{ASKED:?}");
    }
}

#[test]
fn an_error_allocates_little_whatever_the_size_of_the_frame() {
    let mux = mux(detectors::never);
    // A payload of a mebibyte, and a string that is not UTF-8 behind it.
    let mut body = wire(&frame(FrameKind::Request, 1, &vec![7; 1 << 20]))[5..].to_vec();
    body.extend([0x42, 1, 0xff]);
    let wire = framed(&body);
    let (answer, spent) = tally(|| mux.poll_ref(&wire));
    assert!(answer.is_err());
    assert!(spent.bytes < 1000, "{spent:?}");
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstandard_bomb_costs_the_cap_and_a_claim_nothing() {
    // No content size and a window of 1 GiB, then blocks that each repeat one byte 128 KiB times: 2 GiB of 64 KiB.
    let frame = |descriptor: &[u8], blocks: usize| {
        let mut frame = [b"\x28\xb5\x2f\xfd", descriptor].concat();
        for block in 1..=blocks {
            let header = 0x20_000_u32 << 3 | 1 << 1 | u32::from(block == blocks);
            frame.extend_from_slice(&header.to_le_bytes()[..3]);
            frame.push(0);
        }
        frame
    };
    let cap = 1 << 20;
    let bomb = frame(b"\x00\xa0", 16_384);
    let error = refused_within(2 * cap, PayloadEncoding::Zstd, &bomb, cap);
    assert!(matches!(error, DecodePayloadError::TooLarge { .. }), "{error:?}");
    // The size is there as well: 2 GiB.
    let stated = frame(b"\xa0\x00\x00\x00\x80", 16_384);
    let error = refused_within(0, PayloadEncoding::Zstd, &stated, cap);
    assert!(matches!(error, DecodePayloadError::TooLarge { .. }), "{error:?}");
    // A size within the cap, and nothing that makes it.
    let claimed = frame(b"\xa0\x00\x00\x00\x01", 1);
    let error = refused_within(512 << 10, PayloadEncoding::Zstd, &claimed, MAX_FRAME_BYTES);
    assert!(matches!(error, DecodePayloadError::Damaged { .. }), "{error:?}");
}

#[cfg(feature = "lz4")]
#[test]
fn an_lz4_bomb_costs_the_cap_and_a_claim_nothing() {
    let mut bomb = Vec::new();
    encode_payload(PayloadEncoding::Lz4, &vec![0; 64 << 20], &mut bomb).unwrap();
    let cap = 1 << 20;
    let error = refused_within(0, PayloadEncoding::Lz4, &bomb, cap);
    assert!(matches!(error, DecodePayloadError::TooLarge { .. }), "{error:?}");
    // The same without the size: its flag, its eight bytes and the checksum of what is left.
    let unstated = [&bomb[..4], b"\x40\x40\xc0", &bomb[15..]].concat();
    let error = refused_within(2 * cap + (512 << 10), PayloadEncoding::Lz4, &unstated, cap);
    assert!(matches!(error, DecodePayloadError::TooLarge { .. }), "{error:?}");
    // A size within the cap, and nothing that makes it.
    let error = refused_within(512 << 10, PayloadEncoding::Lz4, &bomb[..15], 64 << 20);
    assert!(matches!(error, DecodePayloadError::Damaged { .. }), "{error:?}");
}

#[cfg(feature = "snappy")]
#[test]
fn a_snappy_bomb_costs_nothing() {
    // Lengths of 4 GiB and 16 MiB, and a literal of one byte.
    let error = refused_within(0, PayloadEncoding::Snappy, b"\xff\xff\xff\xff\x0f\x00a", MAX_FRAME_BYTES);
    assert!(matches!(error, DecodePayloadError::TooLarge { .. }), "{error:?}");
    let error = refused_within(512, PayloadEncoding::Snappy, b"\x80\x80\x80\x08\x00a", MAX_FRAME_BYTES);
    assert!(matches!(error, DecodePayloadError::Damaged { .. }), "{error:?}");
}

#[cfg(any(feature = "lz4", feature = "snappy", feature = "zstd"))]
fn refused_within(peak: usize, encoding: PayloadEncoding, payload: &[u8], cap: usize) -> DecodePayloadError {
    let mut out = Vec::new();
    let (refused, spent) = tally(|| decode_payload(encoding, payload, cap, &mut out));
    assert!(
        spent.peak <= isize::try_from(peak).expect("a few mebibytes"),
        "{spent:?}, where at most {peak} bytes are due"
    );
    refused.expect_err("it is a bomb, or damaged")
}
