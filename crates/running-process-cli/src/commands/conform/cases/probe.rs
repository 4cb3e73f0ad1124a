//! Identity probes.

use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::connection::Connection;
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::{CANCEL, EVENT, HEADER, RESPONSE, RawFrame};
use crate::commands::conform::protobuf::{Field, FieldValue};
use crate::commands::conform::trial::Trial;

const PROBE: &str = "Probe";
/// The nonce of the probes here.
const NONCE: [u8; 32] = *b"0123456789abcdefFEDCBA9876543210";
/// Longest body of a probe.
const MAX_PROBE: usize = 4096;

pub(super) static CASES: &[Case] = &[
    Case::must("probe-answered", PROBE, "A probe is answered by its nonce and an identity.", |trial| {
        trial.connect()?.probe(1, NONCE).map(drop)
    }),
    Case::must("probe-id", PROBE, "The response repeats the id of the probe, whatever it is.", |trial| {
        [0, 1, 0x7f, 0x80, 1 << 32, u64::MAX]
            .into_iter()
            .try_for_each(|id| trial.connect()?.probe(id, NONCE).map(drop))
    }),
    Case::must(
        "probe-trace-context",
        PROBE,
        "The response repeats the trace context of the probe.",
        |trial| {
            let (parent, state) =
                (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"vendor=value");
            let (traceparent, tracestate) = (parent.to_vec(), state.to_vec());
            let mut connection = trial.connect()?;
            let probe = RawFrame { traceparent, tracestate, ..RawFrame::probe(1, &NONCE) };
            connection.send(&probe.bytes())?;
            let response = connection.frame("the response to the probe")?;
            let trace = |frame: &RawFrame| (frame.traceparent.clone(), frame.tracestate.clone());
            check(trace(&response) == trace(&probe), "the trace context of the probe", || {
                let (parent, state) =
                    (response.traceparent.escape_ascii(), response.tracestate.escape_ascii());
                format!("\"{parent}\" and \"{state}\"")
            })
        },
    ),
    Case::must("probe-again", PROBE, "A connection may be probed again, with another nonce.", |trial| {
        let mut connection = trial.connect()?;
        (0..4).try_for_each(|byte| connection.probe(byte.into(), [byte; 32]).map(drop))
    }),
    Case::must("probe-pipelined", PROBE, "Probes in one write are answered in their order.", |trial| {
        let mut connection = trial.connect()?;
        let probes: Vec<u8> =
            (0..100_u8).flat_map(|byte| RawFrame::probe(byte.into(), &[byte; 32]).bytes()).collect();
        connection.send(&probes)?;
        (0..100_u8).try_for_each(|byte| connection.probe_response(byte.into(), [byte; 32]).map(drop))
    }),
    Case::must(
        "probe-then-request",
        PROBE,
        "A probe does not decide the wire: a request is served behind it.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.probe(1, NONCE)?;
            trial.echoes(&mut connection, 2, b"proven")
        },
    )
    .needs(&[Need::Echo]),
    Case::must("probe-after-request", PROBE, "A probe is answered behind a request.", |trial| {
        let mut connection = trial.connect()?;
        trial.echoes(&mut connection, 1, b"first")?;
        connection.probe(2, NONCE).map(drop)
    })
    .needs(&[Need::Echo]),
    Case::must(
        "probe-and-request-in-one-write",
        PROBE,
        "A probe and a request in one write are both answered, the probe first.",
        |trial| {
            let mut connection = trial.connect()?;
            connection
                .send(&[RawFrame::probe(1, &NONCE).bytes(), trial.echo(2, b"behind").bytes()].concat())?;
            connection.probe_response(1, NONCE)?;
            connection.expect(&trial.response(2, *b"behind"))
        },
    )
    .needs(&[Need::Echo]),
    Case::must(
        "probe-envelope-version",
        PROBE,
        "A probe whose envelope version is not 1 is refused.",
        |trial| {
            [0, 2, 257, 1 << 31]
                .into_iter()
                .try_for_each(|version| refused(trial, &RawFrame { version, ..RawFrame::probe(1, &NONCE) }))
        },
    ),
    Case::must("probe-kind", PROBE, "A probe whose kind is not request is refused.", |trial| {
        [RESPONSE, EVENT, CANCEL, 9]
            .into_iter()
            .try_for_each(|kind| refused(trial, &RawFrame { kind, ..RawFrame::probe(1, &NONCE) }))
    }),
    Case::must("probe-encoding", PROBE, "A probe whose payload is encoded is refused.", |trial| {
        [1, 2, 3, 99]
            .into_iter()
            .try_for_each(|encoding| refused(trial, &RawFrame { encoding, ..RawFrame::probe(1, &NONCE) }))
    }),
    Case::must("probe-nonce-empty", PROBE, "A probe without a nonce is refused.", |trial| {
        refused(trial, &RawFrame::probe(1, b""))
    }),
    Case::must("probe-nonce-short", PROBE, "A probe with a nonce of 31 bytes is refused.", |trial| {
        refused(trial, &RawFrame::probe(1, &NONCE[1..]))
    }),
    Case::must("probe-nonce-long", PROBE, "A probe with a nonce of 33 bytes is refused.", |trial| {
        refused(trial, &RawFrame::probe(1, &[0x33; 33]))
    }),
    Case::must("probe-body-4096", PROBE, "A probe with a body of 4096 bytes is answered.", |trial| {
        let mut connection = trial.connect()?;
        connection.send(&padded(MAX_PROBE).bytes())?;
        connection.probe_response(1, NONCE).map(drop)
    }),
    Case::must(
        "probe-body-4097",
        PROBE,
        "A probe with a body of more than 4096 bytes is refused.",
        |trial| refused(trial, &padded(MAX_PROBE + 1)),
    )
    .should(),
    Case::must(
        "probe-malformed-ends-its-connection",
        PROBE,
        "A malformed probe ends its connection alone, and nothing behind it is answered.",
        |trial| {
            let (mut other, mut connection) = (trial.connect()?, trial.connect()?);
            other.probe(1, NONCE)?;
            let malformed = RawFrame::probe(1, &NONCE[1..]);
            connection.send(&[malformed.bytes(), RawFrame::probe(2, &NONCE).bytes()].concat())?;
            connection.ends()?;
            other.probe(2, NONCE).map(drop).map_err(|fault| fault.context("then, on the other connection"))
        },
    ),
    Case::must(
        "probe-malformed-after-answers",
        PROBE,
        "Answers that are due before a malformed probe are sent before the connection ends.",
        |trial| {
            let mut connection = trial.connect()?;
            let malformed = RawFrame::probe(2, b"");
            connection.send(&[RawFrame::probe(1, &NONCE).bytes(), malformed.bytes()].concat())?;
            connection.probe_response(1, NONCE)?;
            connection.ends()
        },
    )
    .should(),
    Case::must(
        "probe-no-tags-of-ours",
        PROBE,
        "The response to a probe without tags from 1000 on has none either.",
        |trial| {
            let mut connection: Connection = trial.connect()?;
            connection.send(&RawFrame::probe(1, &NONCE).bytes())?;
            let response = connection.frame("the response to the probe")?;
            response.has_no_tags_of_ours()
        },
    ),
];

/// Returns a probe with a body of so many bytes, which an unknown field fills.
fn padded(length: usize) -> RawFrame {
    let with = |padding: usize| {
        let others = vec![Field { tag: 2000, value: FieldValue::Bytes(vec![b'.'; padding]) }];
        RawFrame { others, ..RawFrame::probe(1, &NONCE) }
    };
    let envelope = with(length).body().len() - length;
    let probe = with(length - envelope);
    debug_assert_eq!(probe.bytes().len(), HEADER + length);
    probe
}

/// Checks that a malformed probe ends its connection without an answer, and no other one.
fn refused(trial: &Trial<'_>, probe: &RawFrame) -> Result<(), Fault> {
    let mut connection = trial.connect()?;
    connection.send(&probe.bytes())?;
    connection.ends().map_err(|fault| fault.context(format_args!("after {probe}")))?;
    trial.still_serves()
}
