//! The fields of a frame: protobuf as any decoder of it reads and refuses it.

use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::fault::Fault;
use crate::commands::conform::frame::{EVENT, RESPONSE, RawFrame, framed};
use crate::commands::conform::hex::hex;
use crate::commands::conform::protobuf::{bytes, put_varint, varint};
use crate::commands::conform::trial::Trial;

const FRAME: &str = "Frame";
const STRICT: &str = "Checks of a strict receiver";
const ECHO: &[Need] = &[Need::Echo];
const NONCE: [u8; 32] = [0x4e; 32];

/// Tags that no field of the wire has.
const UNKNOWN: [u64; 6] = [10, 15, 16, 999, 2000, 0x1fff_ffff];

pub(super) static CASES: &[Case] = &[
    Case::must("fields-any-order", FRAME, "Fields may come in any order.", |trial| {
        let [version, protocol, payload, id] = parts(trial, 1);
        echoed(trial, &[id, payload, protocol, version].concat())
    })
    .needs(ECHO),
    Case::must("fields-unknown", FRAME, "Unknown fields are skipped, whatever their wire type.", |trial| {
        UNKNOWN.into_iter().try_for_each(|tag| {
            let [version, protocol, payload, id] = parts(trial, 1);
            let body = [version, unknown(tag), protocol, unknown(tag), payload, id, unknown(tag)].concat();
            echoed(trial, &body).map_err(|fault| fault.context(format_args!("with fields of tag {tag}")))
        })
    })
    .needs(ECHO),
    Case::must("fields-unknown-in-probe", FRAME, "Unknown fields of a probe are skipped.", |trial| {
        let probe = RawFrame::probe(1, &NONCE).body();
        UNKNOWN.into_iter().try_for_each(|tag| {
            let mut connection = trial.connect()?;
            connection.send(&framed(&[unknown(tag), probe.clone(), unknown(tag)].concat()))?;
            connection.probe_response(1, NONCE).map(drop)
        })
    }),
    Case::must(
        "fields-unknown-group",
        FRAME,
        "An unknown group is skipped, with the groups in it.",
        |trial| {
            let inner = [group(21, &varint(1, 7)), bytes(2, b"x")].concat();
            let body = [group(20, &inner), parts(trial, 1).concat()].concat();
            echoed(trial, &body)
        },
    )
    .needs(ECHO),
    Case::must("fields-last-wins", FRAME, "Of a repeated field the last value counts.", |trial| {
        let earlier =
            [varint(1, 7), varint(2, 3), varint(3, 0xB232), bytes(4, b"fail"), varint(5, 9), bytes(8, b"x")];
        let body = [earlier.concat(), varint(2, 0), bytes(8, b""), parts(trial, 1).concat()].concat();
        echoed(trial, &body)
    })
    .needs(ECHO),
    Case::must("fields-defaults-written", FRAME, "Defaults may be written.", |trial| {
        let defaults = [varint(2, 0), varint(6, 0), varint(7, 0), bytes(8, b""), bytes(9, b"")].concat();
        echoed(trial, &[parts(trial, 1).concat(), defaults].concat())
    })
    .needs(ECHO),
    Case::must("fields-long-varints", FRAME, "A varint may be longer than its value needs.", |trial| {
        let payload = b"echo x";
        let mut body = Vec::new();
        for (tag, value) in [(1, 1), (3, trial.target.protocol), (5, 1)] {
            body.extend([padded(tag << 3, 3), padded(value, 10)].concat());
        }
        body.extend([padded(4 << 3 | 2, 2), padded(payload.len() as u64, 4), payload.to_vec()].concat());
        echoed(trial, &body)
    })
    .needs(ECHO),
    Case::must("fields-32-bits", FRAME, "Of a uint32 the lower 32 bits count.", |trial| {
        let [version, _, payload, id] = parts(trial, 1);
        echoed(trial, &[version, varint(3, 1 << 32 | trial.target.protocol), payload, id].concat())
    })
    .should()
    .needs(ECHO),
    Case::must(
        "fields-wrong-wire-type",
        FRAME,
        "A payload protocol that is no varint is not read.",
        |trial| {
            let [version, _, payload, id] = parts(trial, 1);
            let mut connection = trial.connect()?;
            let two = trial.target.protocol.to_le_bytes();
            connection.send(&framed(&[version, bytes(3, &two[..2]), payload, id].concat()))?;
            connection.ends_or_refuses()?;
            trial.still_serves()
        },
    ),
    Case::must(
        "fields-wrong-wire-type-of-id",
        FRAME,
        "A request id that is no varint ends the connection.",
        |trial| {
            let [version, protocol, payload, _] = parts(trial, 1);
            let id = [vec![5 << 3 | 1], 1_u64.to_le_bytes().to_vec()].concat();
            damaged(trial, &[version, protocol, payload, id].concat())
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "fields-no-wire-type",
        FRAME,
        "A field of the wire types 6 and 7 ends the connection.",
        |trial| {
            [6, 7].into_iter().try_for_each(|wire_type| {
                damaged(trial, &[parts(trial, 1).concat(), vec![10 << 3 | wire_type, 0]].concat())
            })
        },
    )
    .needs(ECHO),
    Case::must("fields-tag-zero", FRAME, "A field with the tag 0 ends the connection.", |trial| {
        damaged(trial, &[parts(trial, 1).concat(), vec![0, 0]].concat())
    })
    .needs(ECHO),
    Case::must("fields-cut-off", FRAME, "A body that ends within a field ends the connection.", |trial| {
        let whole = parts(trial, 1).concat();
        // A key, a varint, a length, a content, a number and a group that end too early.
        let ends: [&[u8]; 6] = [
            &[0x80],
            &[10 << 3, 0x80],
            &[10 << 3 | 2, 0x80],
            &[10 << 3 | 2, 9, 1],
            &[10 << 3 | 1, 1, 2],
            &[10 << 3 | 3],
        ];
        ends.into_iter().try_for_each(|end| damaged(trial, &[&whole, end].concat()))
    })
    .needs(ECHO),
    Case::must("fields-length-max", FRAME, "A field longer than any body ends the connection.", |trial| {
        let mut field = vec![4 << 3 | 2];
        put_varint(u64::MAX, &mut field);
        damaged(trial, &[parts(trial, 1).concat(), field].concat())
    })
    .needs(ECHO),
    Case::must(
        "fields-varint-too-long",
        FRAME,
        "A varint of more than ten bytes ends the connection.",
        |trial| damaged(trial, &[parts(trial, 1).concat(), vec![10 << 3], vec![0x80; 10], vec![0]].concat()),
    )
    .needs(ECHO),
    Case::must(
        "fields-end-of-no-group",
        FRAME,
        "The end of a group that did not begin ends the connection.",
        |trial| damaged(trial, &[parts(trial, 1).concat(), vec![10 << 3 | 4]].concat()),
    )
    .needs(ECHO),
    Case::must(
        "fields-not-utf-8",
        FRAME,
        "A trace context that is not UTF-8 ends the connection.",
        |trial| {
            [8, 9].into_iter().try_for_each(|tag| {
                damaged(trial, &[parts(trial, 1).concat(), bytes(tag, b"00-\xff\xfe")].concat())
            })
        },
    )
    .needs(ECHO),
    Case::must(
        "fields-probe-not-utf-8",
        FRAME,
        "A probe whose trace context is not UTF-8 is refused.",
        |trial| damaged(trial, &[RawFrame::probe(1, &NONCE).body(), bytes(8, b"\xc0\x80")].concat()),
    ),
    Case::must(
        "fields-envelope-version",
        STRICT,
        "An envelope version other than 1 ends the connection.",
        |trial| {
            [0, 2, 1 << 31]
                .into_iter()
                .try_for_each(|version| damaged(trial, &RawFrame { version, ..trial.echo(1, b"x") }.body()))
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "fields-kind-unknown",
        STRICT,
        "A kind that is none of the four ends the connection.",
        |trial| {
            [4, 9, u64::MAX]
                .into_iter()
                .try_for_each(|kind| damaged(trial, &RawFrame { kind, ..trial.echo(1, b"x") }.body()))
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "fields-kind-unasked",
        FRAME,
        "A response and an event of a client are not answered.",
        |trial| {
            let mut connection = trial.connect()?;
            for kind in [RESPONSE, EVENT] {
                connection.send(&RawFrame { kind, ..trial.echo(1, b"unasked") }.bytes())?;
                trial.echoes(&mut connection, 2, b"asked")?;
            }
            Ok(())
        },
    )
    .should()
    .needs(ECHO),
];

/// Returns the fields of the request for `x`: envelope version, payload protocol, payload and id.
fn parts(trial: &Trial<'_>, id: u64) -> [Vec<u8>; 4] {
    [varint(1, 1), varint(3, trial.target.protocol), bytes(4, b"echo x"), varint(5, id)]
}

/// Returns fields of every wire type but groups.
fn unknown(tag: u64) -> Vec<u8> {
    let key = |wire_type: u64| {
        let mut key = Vec::new();
        put_varint(tag << 3 | wire_type, &mut key);
        key
    };
    [varint(tag, u64::MAX), key(1), vec![1; 8], bytes(tag, b"\x08\x02"), key(5), vec![5; 4]].concat()
}

/// Returns a group, which protobuf had before messages in messages.
fn group(tag: u64, content: &[u8]) -> Vec<u8> {
    let mut group = Vec::new();
    put_varint(tag << 3 | 3, &mut group);
    group.extend_from_slice(content);
    put_varint(tag << 3 | 4, &mut group);
    group
}

/// Returns a varint in so many bytes, at least as many as it needs.
fn padded(value: u64, length: usize) -> Vec<u8> {
    let mut varint = Vec::new();
    put_varint(value, &mut varint);
    while varint.len() < length {
        if let Some(last) = varint.last_mut() {
            *last |= 0x80;
        }
        varint.push(0);
    }
    varint
}

/// Sends the request for `x` with the id 1 as this body, and checks that it is answered.
fn echoed(trial: &Trial<'_>, body: &[u8]) -> Result<(), Fault> {
    let mut connection = trial.connect()?;
    connection.send(&framed(body))?;
    connection.expect(&trial.response(1, *b"x"))
}

/// Sends a body that is no frame, and checks that its connection ends, and no other one.
fn damaged(trial: &Trial<'_>, body: &[u8]) -> Result<(), Fault> {
    let mut connection = trial.connect()?;
    connection.send(&framed(body))?;
    connection.ends().map_err(|fault| fault.context(format_args!("after the body {}", hex(body))))?;
    trial.still_serves()
}
