//! Making frames.

use super::sample::{ID, payload, peer_request, request};
use crate::floor::wire;
use crate::party::PROTOCOL;
use crate::place::Placement;
use crate::row::{Contender, Counts, Row, Run, Unit, timed};
use running_process::broker::protocol::{FrameRef, encode_framed, write_framed};
use std::fs::File;
use std::hint::black_box;
use std::io::{IoSlice, Write};

const LARGE: usize = 1 << 20;

pub fn rows() -> [Row; 2] {
    let row = |name, title, contenders| Row {
        counts: Counts::Allocations,
        ..Row::new(name, title, Unit::Time, Placement::Free, contenders)
    };
    [
        row("encode-64", "encode a frame, 64 B", || {
            vec![
                Contender::floor("by hand, into a vector", |_| by_hand()),
                Contender::floor("by hand, into a slice that is large enough", |_| into_slice()),
                Contender::ours("FrameRef::encode_framed, into a vector", |_| into_buffer()).within(1.5),
                Contender::ours("encode_framed", |_| owned()),
                Contender::peer("encode_framed", |_| owned_by_peer()),
            ]
        }),
        row("write-1m", "write a frame, 1 MiB, to a file that drops it", || {
            vec![
                Contender::floor("writev", |_| writev()),
                Contender::ours("write_framed", |_| write()).within(1.5),
                Contender::peer("encode_framed and write", |_| write_by_peer()),
            ]
        }),
    ]
}

/// Returns a vector that grows on demand, as the library's buffers do.
fn by_hand() -> Run {
    let (payload, mut out) = (payload(64), Vec::new());
    timed(move || {
        let payload = black_box(&payload);
        out.clear();
        out.resize(wire::AROUND + payload.len(), 0);
        let length = wire::encode(&mut out, 0, black_box(PROTOCOL), black_box(ID), payload);
        out.truncate(length);
        black_box(&out);
    })
}

fn into_slice() -> Run {
    let (payload, mut out) = (payload(64), vec![0; 128]);
    timed(move || {
        let length = wire::encode(&mut out, 0, black_box(PROTOCOL), black_box(ID), black_box(&payload));
        black_box(&out[..length]);
    })
}

fn into_buffer() -> Run {
    let (payload, mut out) = (payload(64), Vec::new());
    timed(move || {
        out.clear();
        FrameRef::request(black_box(PROTOCOL), black_box(ID), black_box(&payload))
            .encode_framed(&mut out)
            .unwrap();
        black_box(&out);
    })
}

fn owned() -> Run {
    let frame = request(64);
    timed(move || {
        black_box(encode_framed(black_box(&frame)).unwrap());
    })
}

fn owned_by_peer() -> Run {
    let frame = peer_request(64);
    timed(move || {
        black_box(peer::broker::protocol::encode_framed(black_box(&frame)).unwrap());
    })
}

/// Accepts all bytes without reading them.
fn nowhere() -> File {
    File::options().write(true).open("/dev/null").expect("a system with a null device")
}

fn writev() -> Run {
    let (payload, mut out) = (payload(LARGE), nowhere());
    let frame = super::wire(LARGE);
    let head = frame.len() - payload.len() - 3;
    let (head, tail) = (frame[..head].to_vec(), frame[frame.len() - 3..].to_vec());
    timed(move || {
        let written = out.write_vectored(&[
            IoSlice::new(&head),
            IoSlice::new(black_box(&payload)),
            IoSlice::new(&tail),
        ]);
        assert_eq!(written.unwrap(), frame.len());
    })
}

fn write() -> Run {
    let (payload, mut out) = (payload(LARGE), nowhere());
    timed(move || {
        write_framed(&mut out, &FrameRef::request(PROTOCOL, ID, black_box(&payload))).unwrap();
    })
}

fn write_by_peer() -> Run {
    let (frame, mut out) = (peer_request(LARGE), nowhere());
    timed(move || {
        let bytes = peer::broker::protocol::encode_framed(black_box(&frame)).unwrap();
        out.write_all(&bytes).unwrap();
    })
}
