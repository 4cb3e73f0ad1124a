//! Many frames in one buffer: what a frame costs must not depend on how many others lie behind it.

use super::sample::{is_legacy, wire};
use crate::floor::wire::{Poll, poll};
use crate::measure::{Contender, Counts, Pace, Row, Run, Unit, nanoseconds, timed};
use crate::party::{codec, ours, peer};
use crate::place::Placement;
use ::peer::broker::backend_sdk::MuxPoll as PeerPoll;
use running_process::broker::backend_sdk::{Connection, ConnectionConfig, ConnectionEvent, MuxPollRef};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: usize = 64;
const MANY: usize = 10_000;
const VERY_MANY: usize = 1_000_000;

pub fn rows() -> [Row; 2] {
    [
        Row {
            name: "drain-10k",
            title: "a frame out of a buffer with 10,000, 64 B payload",
            unit: Unit::Time,
            batch: MANY as u64,
            counts: Counts::Allocations,
            placement: Placement::Free,
            pace: Pace::Sampled,
            contenders: || {
                let mut contenders = linear::<MANY>();
                contenders.push(Contender::peer("poll, drain(..consumed)", |_| peer_draining(MANY)));
                contenders
            },
        },
        Row {
            name: "drain-1m",
            title: "a frame out of a buffer with 1,000,000, 64 B payload",
            unit: Unit::Time,
            batch: VERY_MANY as u64,
            counts: Counts::Allocations,
            placement: Placement::Free,
            pace: Pace::Sampled,
            contenders: linear::<VERY_MANY>,
        },
    ]
}

fn linear<const FRAMES: usize>() -> Vec<Contender> {
    vec![
        Contender::floor("parse by hand, borrowed", |_| by_hand(FRAMES)),
        Contender::ours("poll_ref", |_| borrowed(FRAMES)).within(1.5),
        Contender::ours("Connection: receive, next_event", |_| connection(FRAMES)).within(1.5),
        Contender::other("LengthDelimited + prost, Bytes", |_| codec::drain(SIZE, FRAMES)),
        Contender::other("the peer's poll, by offset", |_| peer_by_offset(FRAMES)),
    ]
}

fn by_hand(frames: usize) -> Run {
    let all = wire(SIZE).repeat(frames);
    timed(move || {
        let mut rest = &all[..];
        while let Poll::Frame(frame, consumed) = poll(rest, is_legacy) {
            black_box(&frame);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
    })
}

fn borrowed(frames: usize) -> Run {
    let (mux, all) = (ours::mux(), wire(SIZE).repeat(frames));
    timed(move || {
        let mut rest = &all[..];
        while let Ok(MuxPollRef::Payload { frame, consumed }) = mux.poll_ref(rest) {
            black_box(&frame);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
    })
}

/// With the copy into the connection's own buffer.
fn connection(frames: usize) -> Run {
    let (mux, all) = (Arc::new(ours::mux()), wire(SIZE).repeat(frames));
    let now = Instant::now();
    timed(move || {
        let mut connection = Connection::new(Arc::clone(&mux), ConnectionConfig::default(), now);
        connection.receive(&all, now);
        let mut taken = 0;
        while let Some(ConnectionEvent::Request(request)) = connection.next_event().unwrap() {
            black_box(&request.frame);
            taken += 1;
        }
        assert_eq!(taken, frames);
    })
}

/// As the peer documents it.
fn peer_draining(frames: usize) -> Run {
    let (mux, all) = (peer::mux(), wire(SIZE).repeat(frames));
    Box::new(move |count| {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let mut buffer = all.clone();
            let begin = Instant::now();
            while let Ok(PeerPoll::Payload { frame, consumed }) = mux.poll(&buffer) {
                black_box(&frame);
                buffer.drain(..consumed);
            }
            took += begin.elapsed();
            assert!(buffer.is_empty());
        }
        took.as_nanos() as f64
    })
}

fn peer_by_offset(frames: usize) -> Run {
    let (mux, all) = (peer::mux(), wire(SIZE).repeat(frames));
    Box::new(move |count| {
        let begin = Instant::now();
        for _ in 0..count {
            let mut rest = &all[..];
            while let Ok(PeerPoll::Payload { frame, consumed }) = mux.poll(rest) {
                black_box(&frame);
                rest = &rest[consumed..];
            }
            assert!(rest.is_empty());
        }
        nanoseconds(begin)
    })
}
