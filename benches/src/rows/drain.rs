//! Many frames in one buffer: the cost of a frame must not depend on the number of frames behind it.

use super::sample::{is_legacy, use_frame, wire};
use crate::floor::wire::{Poll, poll};
use crate::party::{codec, ours, peer};
use crate::place::Placement;
use crate::row::{Contender, Counts, Row, Run, Unit, timed};
use ::peer::broker::backend_sdk::MuxPoll as PeerPoll;
use running_process::broker::backend_sdk::{Connection, ConnectionConfig, ConnectionEvent, MuxPollRef};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: usize = 64;
const MANY: usize = 10_000;
const VERY_MANY: usize = 1_000_000;
/// The most memory that a connection keeps for further bytes, in bytes.
const MOST_KEPT: usize = 4 << 20;

pub fn rows() -> [Row; 2] {
    let row = |name, title, frames: usize, contenders| Row {
        batch: frames as u64,
        counts: Counts::Allocations,
        ..Row::new(name, title, Unit::Time, Placement::Free, contenders)
    };
    [
        row("drain-10k", "take a frame out of a buffer with 10,000, 64 B", MANY, || {
            let mut contenders = linear::<MANY>();
            contenders.push(Contender::peer("poll, drain(..consumed)", |_| peer_draining(MANY)));
            contenders.push(peer_by_offset(MANY));
            contenders.push(usual_parts(MANY));
            contenders
        }),
        row("drain-1m", "take a frame out of a buffer with 1,000,000, 64 B", VERY_MANY, || {
            let mut contenders = linear::<VERY_MANY>();
            contenders.push(peer_by_offset(VERY_MANY));
            contenders.push(usual_parts(VERY_MANY));
            contenders
        }),
    ]
}

fn linear<const FRAMES: usize>() -> Vec<Contender> {
    vec![
        Contender::floor("parse by hand, borrowed", |_| by_hand(FRAMES)),
        Contender::floor("copy at once, parse by hand", |_| copied_by_hand(FRAMES, usize::MAX)),
        Contender::floor("copy 64 KiB at a time, parse by hand", |_| copied_by_hand(FRAMES, 64 * 1024)),
        Contender::ours("poll_ref", |_| borrowed(FRAMES)).within(1.5),
        Contender::ours("Connection, received at once", |_| connection(FRAMES, usize::MAX)).within(1.5),
        Contender::ours("Connection, 64 KiB at a time", |_| connection(FRAMES, 64 * 1024)).within(1.5),
    ]
}

fn usual_parts(frames: usize) -> Contender {
    Contender::other("LengthDelimited + prost, Bytes", move |_| codec::drain(SIZE, frames))
}

fn by_hand(frames: usize) -> Run {
    let all = wire(SIZE).repeat(frames);
    timed(move || {
        let mut rest = &all[..];
        while let Poll::Frame(frame, consumed) = poll(rest, is_legacy) {
            use_frame(frame.kind, frame.payload_protocol, frame.request_id, frame.payload, consumed);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
    })
}

/// Does the least that a connection with its own buffer must do: copies as much as a read brings, and moves the rest
/// to the front.
fn copied_by_hand(frames: usize, read: usize) -> Run {
    let all = wire(SIZE).repeat(frames);
    let mut buffer = Vec::new();
    timed(move || {
        for bytes in all.chunks(read.min(all.len())) {
            buffer.extend_from_slice(bytes);
            let mut rest = &buffer[..];
            while let Poll::Frame(frame, consumed) = poll(rest, is_legacy) {
                use_frame(frame.kind, frame.payload_protocol, frame.request_id, frame.payload, consumed);
                rest = &rest[consumed..];
            }
            let left = rest.len();
            buffer.drain(..buffer.len() - left);
        }
        assert!(buffer.is_empty());
        // A connection that needs more once does not keep it.
        buffer.shrink_to(MOST_KEPT);
    })
}

fn borrowed(frames: usize) -> Run {
    let (mux, all) = (ours::mux(), wire(SIZE).repeat(frames));
    timed(move || {
        let mut rest = &all[..];
        while let Ok(MuxPollRef::Payload { frame, consumed }) = mux.poll_ref(rest) {
            use_frame(frame.kind, frame.payload_protocol, frame.request_id, frame.payload, consumed);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
    })
}

/// Decodes with the copy into the connection's own buffer, of as much as a read brings.
fn connection(frames: usize, read: usize) -> Run {
    let all = wire(SIZE).repeat(frames);
    let now = Instant::now();
    let mut connection = Connection::new(Arc::new(ours::mux()), ConnectionConfig::default(), now);
    timed(move || {
        let mut taken = 0;
        for bytes in all.chunks(read.min(all.len())) {
            connection.receive(bytes, now);
            while let Some(ConnectionEvent::Request(request)) = connection.next_event().unwrap() {
                let frame = request.frame;
                use_frame(frame.kind, frame.payload_protocol, frame.request_id, frame.payload, taken);
                taken += 1;
            }
        }
        assert_eq!(taken, frames);
    })
}

/// Decodes as the peer's documentation does.
fn peer_draining(frames: usize) -> Run {
    let (mux, all) = (peer::mux(), wire(SIZE).repeat(frames));
    Box::new(move |count| {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let mut buffer = all.clone();
            let begin = Instant::now();
            while let Ok(PeerPoll::Payload { frame, consumed }) = mux.poll(&buffer) {
                use_frame(frame.kind, frame.payload_protocol, frame.request_id, &frame.payload, consumed);
                buffer.drain(..consumed);
            }
            took += begin.elapsed();
            assert!(buffer.is_empty());
        }
        took.as_nanos() as f64
    })
}

/// Decodes the peer's way without its quadratic cost.
fn peer_by_offset(frames: usize) -> Contender {
    Contender::peer("poll, by offset", move |_| {
        let (mux, all) = (peer::mux(), wire(SIZE).repeat(frames));
        timed(move || {
            let mut rest = &all[..];
            while let Ok(PeerPoll::Payload { frame, consumed }) = mux.poll(rest) {
                use_frame(frame.kind, frame.payload_protocol, frame.request_id, &frame.payload, consumed);
                rest = &rest[consumed..];
            }
            assert!(rest.is_empty());
        })
    })
}
