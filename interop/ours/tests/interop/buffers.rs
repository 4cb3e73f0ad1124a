//! Bytes for a mux, made by hand: no encoder of any version under test has a part in them.

use std::fmt::Write;

const PING: u64 = 0x7A63;
const PROBE: u64 = 0xB232;
const CAP: u32 = 16 << 20;

/// Buffers that begin with bytes of every kind, each cut at every place, and some thousand with flipped bytes.
pub fn all() -> Vec<Vec<u8>> {
    let whole = whole();
    let mut buffers = Vec::new();
    for buffer in &whole {
        buffers.extend((0..=buffer.len()).map(|cut| buffer[..cut].to_vec()));
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..4000 {
        let mut buffer = whole[round % whole.len()].clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(buffer.len());
            buffer[at] = random.next() as u8;
        }
        buffers.push(buffer);
    }
    buffers
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn whole() -> Vec<Vec<u8>> {
    let nonce: Vec<u8> = (0..32).collect();
    let mut buffers: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1".to_vec(),
        vec![0],
        vec![2, 0, 0, 0, 0],
        b"\x01old message".to_vec(),
        framed(&[]),
        framed(&[0xff, 0xff, 0xff]),
        // Wrong wire types, unknown groups, an open group, a tag of zero, bytes that are not UTF-8, varints too long.
        framed(&bytes(1, b"text")),
        framed(&[ping(&[]), vec![0xa3, 0x01, 0xa4, 0x01]].concat()),
        framed(&[ping(&[]), vec![0xa3, 0x01]].concat()),
        framed(&[ping(&[]), vec![0xa6, 0x01]].concat()),
        framed(&[ping(&[]), vec![0, 0]].concat()),
        framed(&[ping(&[]), bytes(8, b"\xff\xfe")].concat()),
        framed(&[ping(&[]), vec![0x28], vec![0xff; 10], vec![1]].concat()),
        framed(&[ping(&[]), number(2, u64::MAX), number(6, u64::MAX)].concat()),
        // Unknown fields of every wire type, and a field twice: the last one counts.
        framed(
            &[ping(b"x"), number(10, 5), bytes(1000, b"later"), b"\x5dabcd\x61abcdefgh".to_vec()].concat(),
        ),
        // The encodings that our clients accept.
        framed(&[ping(b"x"), number(1000, 14)].concat()),
        framed(&[ping(b"x"), bytes(4, b"yy")].concat()),
        framed(&[ping(b"x"), number(5, 7), number(7, 99), bytes(8, b"parent"), bytes(9, b"state")].concat()),
        // Two frames: only the first is consumed.
        [framed(&ping(b"one")), framed(&ping(b"two"))].concat(),
        [framed(&frame(1, 0, PROBE, &nonce)), framed(&ping(b"two"))].concat(),
        framed(
            &[frame(1, 0, PROBE, &nonce), number(5, 42), bytes(8, b"parent"), bytes(9, b"state")].concat(),
        ),
        framed(&frame(1, 0, PROBE, &nonce[..31])),
        framed(&frame(1, 0, PROBE, &[nonce.clone(), vec![0]].concat())),
        framed(&frame(1, 0, PROBE, &[])),
    ];
    buffers
        .extend([CAP, CAP + 1, u32::MAX].map(|length| [&[1], &length.to_le_bytes()[..], b"body"].concat()));
    for value in [0, 2, 3, 4, 9] {
        for protocol in [PING, PROBE] {
            buffers.push(framed(&frame(value, 0, protocol, &nonce)));
            buffers.push(framed(&frame(1, value, protocol, &nonce)));
            buffers.push(framed(&[frame(1, 0, protocol, &nonce), number(6, value)].concat()));
        }
    }
    let protocols = [
        0,
        1,
        0x5350,
        0x6fff,
        0x7000,
        0x7a62,
        0x7a64,
        0x7c4c,
        0x7eb1,
        0x7f00,
        0xad01,
        0xd0ff,
        0xefff,
        0xf000,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_7a63,
    ];
    buffers.extend(protocols.map(|protocol| framed(&frame(1, 0, protocol, &nonce))));
    buffers
}

fn ping(payload: &[u8]) -> Vec<u8> {
    frame(1, 0, PING, payload)
}

fn frame(version: u64, kind: u64, protocol: u64, payload: &[u8]) -> Vec<u8> {
    [number(1, version), number(2, kind), number(3, protocol), bytes(4, payload)].concat()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short body");
    [&[1], &length.to_le_bytes()[..], body].concat()
}

fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

fn bytes(tag: u64, value: &[u8]) -> Vec<u8> {
    [&varint(tag << 3 | 2), &varint(value.len() as u64), value].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// The xorshift generator: the same buffers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
