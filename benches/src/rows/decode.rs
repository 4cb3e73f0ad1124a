//! Classifying the start of a buffer.
//!
//! Every contender's result is consumed as a daemon does it: it is matched, and the fields that decide are read.

use super::sample::{is_legacy, probe, use_frame, wire};
use crate::floor::wire::{Poll, poll};
use crate::party::{codec, ours, peer};
use crate::place::Placement;
use crate::row::{Contender, Counts, Row, Run, Unit, timed};
use ::peer::broker::backend_sdk::MuxPoll as PeerPoll;
use running_process::broker::backend_sdk::{MuxPoll, MuxPollRef};
use std::hint::black_box;

const LARGE: usize = 1 << 20;

pub fn rows() -> [Row; 6] {
    let row = |name, title, contenders| Row {
        counts: Counts::Allocations,
        ..Row::new(name, title, Unit::Time, Placement::Free, contenders)
    };
    [
        row("decode-64", "classify and decode a frame, 64 B", || {
            let mut contenders = decode(64, 40.0 / 14.0);
            contenders.push(Contender::other("LengthDelimited + prost, Bytes", |_| codec::decode(64, 4096)));
            contenders
        }),
        row("decode-1m", "classify and decode a frame, 1 MiB, where it lies", || {
            vec![
                Contender::floor("parse by hand, borrowed", |_| by_hand(wire(LARGE))),
                Contender::ours("poll_ref", |_| borrowed(wire(LARGE))).within(1.5),
                Contender::other("LengthDelimited + prost, Bytes", |_| codec::decode(LARGE, 16)),
            ]
        }),
        row("own-1m", "classify and decode a frame, 1 MiB, into its own memory", || {
            vec![
                Contender::floor("allocate and copy 1 MiB", |_| copy_fresh(wire(LARGE))),
                Contender::floor("copy 1 MiB into the same memory", |_| copy_reused(wire(LARGE))),
                Contender::ours("poll", |_| owned(wire(LARGE))).within(1.1),
                Contender::peer("poll", |_| owned_by_peer(wire(LARGE))),
            ]
        }),
        row("incomplete", "an incomplete frame of 1 MiB", || {
            let incomplete = || {
                let mut bytes = wire(LARGE);
                bytes.pop();
                bytes
            };
            verdict(incomplete)
        }),
        row("legacy", "a legacy message", || verdict(|| b"*1\r\n$4\r\nPING\r\n".to_vec())),
        row("probe-answer", "answer an identity probe", || {
            vec![
                Contender::floor("parse by hand, copy nonce and identity", |_| answer_by_hand()),
                Contender::ours("poll", |_| owned(probe())).at_most(60.0),
                Contender::ours("poll_ref and answer, into a buffer", |_| answer_into_buffer()).at_most(60.0),
                Contender::peer("poll", |_| owned_by_peer(probe())),
            ]
        }),
    ]
}

fn decode(size: usize, owned_goal: f64) -> Vec<Contender> {
    vec![
        Contender::floor("parse by hand, borrowed", move |_| by_hand(wire(size))),
        Contender::ours("poll_ref", move |_| borrowed(wire(size))).within(1.5),
        Contender::ours("poll", move |_| owned(wire(size))).within(owned_goal),
        Contender::peer("poll", move |_| owned_by_peer(wire(size))),
    ]
}

fn verdict(bytes: impl Fn() -> Vec<u8> + Copy + 'static) -> Vec<Contender> {
    vec![
        Contender::floor("parse by hand", move |_| by_hand(bytes())),
        Contender::ours("poll_ref", move |_| borrowed(bytes())).within(2.0),
        Contender::ours("poll", move |_| owned(bytes())).within(2.0),
        Contender::peer("poll", move |_| owned_by_peer(bytes())),
    ]
}

fn by_hand(bytes: Vec<u8>) -> Run {
    timed(move || match poll(black_box(&bytes), is_legacy) {
        Poll::Frame(frame, consumed) => {
            use_frame(frame.kind, frame.payload_protocol, frame.request_id, frame.payload, consumed);
        }
        Poll::Legacy => use_verdict("legacy"),
        Poll::NeedMoreBytes => use_verdict("more"),
        Poll::Broken => panic!("good bytes"),
    })
}

fn borrowed(bytes: Vec<u8>) -> Run {
    let mux = ours::mux();
    timed(move || match mux.poll_ref(black_box(&bytes)).unwrap() {
        MuxPollRef::Payload { frame, consumed } => {
            use_frame(frame.kind, frame.payload_protocol, frame.request_id, frame.payload, consumed);
        }
        MuxPollRef::Probe { probe, consumed } => use_answer(probe.frame().payload, consumed),
        MuxPollRef::Legacy => use_verdict("legacy"),
        MuxPollRef::NeedMoreBytes => use_verdict("more"),
    })
}

fn owned(bytes: Vec<u8>) -> Run {
    let mux = ours::mux();
    timed(move || match mux.poll(black_box(&bytes)).unwrap() {
        MuxPoll::Payload { frame, consumed } => {
            use_frame(frame.kind, frame.payload_protocol, frame.request_id, &frame.payload, consumed);
        }
        MuxPoll::ProbeAnswered { reply, consumed } => use_answer(&reply, consumed),
        MuxPoll::Legacy => use_verdict("legacy"),
        MuxPoll::NeedMoreBytes => use_verdict("more"),
    })
}

fn owned_by_peer(bytes: Vec<u8>) -> Run {
    let mux = peer::mux();
    timed(move || match mux.poll(black_box(&bytes)).unwrap() {
        PeerPoll::Payload { frame, consumed } => {
            use_frame(frame.kind, frame.payload_protocol, frame.request_id, &frame.payload, consumed);
        }
        PeerPoll::ProbeAnswered { reply, consumed } => use_answer(&reply, consumed),
        PeerPoll::Legacy => use_verdict("legacy"),
        PeerPoll::NeedMoreBytes => use_verdict("more"),
    })
}

fn use_answer(reply: &[u8], consumed: usize) {
    black_box(reply);
    black_box(consumed);
}

fn use_verdict(verdict: &str) {
    black_box(verdict);
}

fn copy_fresh(bytes: Vec<u8>) -> Run {
    timed(move || {
        black_box(black_box(&bytes).clone());
    })
}

fn copy_reused(bytes: Vec<u8>) -> Run {
    let mut copy = vec![0; bytes.len()];
    timed(move || {
        copy.copy_from_slice(black_box(&bytes));
        black_box(&copy);
    })
}

/// Answers a probe by writing nonce and id into one prepared reply, at known places.
fn answer_by_hand() -> Run {
    let probe = probe();
    let Ok(MuxPoll::ProbeAnswered { reply, .. }) = ours::mux().poll(&probe) else {
        panic!("a probe is answered")
    };
    let Poll::Frame(frame, _) = poll(&reply, is_legacy) else { panic!("a reply is a frame") };
    let identity = frame.payload[32..].to_vec();
    let mut out = Vec::new();
    timed(move || {
        let Poll::Frame(frame, _) = poll(black_box(&probe), is_legacy) else { panic!("a probe is a frame") };
        out.clear();
        let begin = reply.len() - identity.len() - frame.payload.len() - 3;
        out.extend_from_slice(&reply[..begin]);
        out.extend_from_slice(frame.payload);
        out.extend_from_slice(&identity);
        out.extend_from_slice(&reply[reply.len() - 3..]);
        black_box(&out);
    })
}

fn answer_into_buffer() -> Run {
    let (mux, probe) = (ours::mux(), probe());
    let mut out = Vec::new();
    timed(move || {
        let Ok(MuxPollRef::Probe { probe, .. }) = mux.poll_ref(black_box(&probe)) else { panic!("a probe") };
        out.clear();
        mux.answer(&probe, &mut out).unwrap();
        black_box(&out);
    })
}
