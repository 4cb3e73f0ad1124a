//! Requests and their responses: ids, payloads, pipelining, both directions of a connection.

use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::connection::Connection;
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::RawFrame;
use crate::commands::conform::trial::Trial;

const FRAME: &str = "Frame";
const BOUNDS: &str = "Bounds";
const ECHO: &[Need] = &[Need::Echo];
const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(super) static CASES: &[Case] = &[
    Case::must("request-id", FRAME, "A response has the id of its request, whatever that is.", |trial| {
        let mut connection = trial.connect()?;
        [0, 1, 0x7f, 0x80, 0xffff_ffff, 1 << 32, u64::MAX]
            .into_iter()
            .try_for_each(|id| trial.echoes(&mut connection, id, b"id"))
    })
    .needs(ECHO),
    Case::must(
        "request-id-again",
        FRAME,
        "An id may be used again once its request was answered.",
        |trial| {
            let mut connection = trial.connect()?;
            [&b"one"[..], b"two", b"three"]
                .into_iter()
                .try_for_each(|text| trial.echoes(&mut connection, 7, text))
        },
    )
    .needs(ECHO),
    Case::must(
        "request-same-id-in-flight",
        FRAME,
        "Requests with the same id in flight are answered in order.",
        |trial| {
            let mut connection = trial.connect()?;
            let requests = [trial.echo(7, b"one"), trial.echo(7, b"two"), trial.echo(7, b"three")];
            connection.send(&requests.map(|request| request.bytes()).concat())?;
            [&b"one"[..], b"two", b"three"]
                .into_iter()
                .try_for_each(|text| connection.expect(&trial.response(7, text)))
        },
    )
    .should()
    .needs(ECHO),
    Case::must("request-empty-answer", FRAME, "A response may have no payload.", |trial| {
        trial.echoes(&mut trial.connect()?, 1, b"")
    })
    .needs(ECHO),
    Case::must("request-every-byte", FRAME, "A payload is opaque: every byte comes back.", |trial| {
        let every: Vec<u8> = (0..=255).collect();
        let mut connection = trial.connect()?;
        trial.echoes(&mut connection, 1, &every)?;
        // Like a frame, and like a probe.
        trial.echoes(&mut connection, 2, &RawFrame::probe(1, &[1; 32]).bytes())
    })
    .needs(ECHO),
    Case::must("request-sizes", FRAME, "Payloads of one byte to 64 KiB come back whole.", |trial| {
        let mut connection = trial.connect()?;
        [1, 118, 119, 4091, 4096, 16_379, 16_384, 65_531, 65_536].into_iter().try_for_each(|length| {
            let payload: Vec<u8> = (0..length).map(|index: usize| index.to_le_bytes()[0]).collect();
            trial.echoes(&mut connection, length as u64, &payload)
        })
    })
    .needs(ECHO),
    Case::must(
        "request-trace-context",
        FRAME,
        "A response repeats the trace context of its request.",
        |trial| {
            let (traceparent, tracestate) = (PARENT.to_vec(), b"vendor=value".to_vec());
            let mut connection = trial.connect()?;
            let request = RawFrame { traceparent, tracestate, ..trial.echo(1, b"traced") };
            connection.send(&request.bytes())?;
            let response = connection.receive(&trial.response(1, *b"traced"))?;
            let is_same =
                (&response.traceparent, &response.tracestate) == (&request.traceparent, &request.tracestate);
            check(is_same, "the trace context of the request", || {
                format!(
                    "\"{}\", \"{}\"",
                    response.traceparent.escape_ascii(),
                    response.tracestate.escape_ascii()
                )
            })
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "request-long-trace-context",
        BOUNDS,
        "A request with a longer trace context than W3C's is served.",
        |trial| {
            let mut connection = trial.connect()?;
            let (traceparent, tracestate) = ([PARENT, b"-more"].concat(), vec![b's'; 4096]);
            let request = RawFrame { traceparent, tracestate, ..trial.echo(1, b"served") };
            connection.send(&request.bytes())?;
            connection.expect(&trial.response(1, *b"served"))
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "request-pipelined-64",
        FRAME,
        "64 requests in one write are answered, in any order.",
        |trial| {
            let mut connection = trial.connect()?;
            pipelined(trial, &mut connection, 64)
        },
    )
    .needs(ECHO),
    Case::must(
        "request-pipelined-1000",
        FRAME,
        "1000 requests in one write are answered, in any order.",
        |trial| {
            let mut connection = trial.connect()?;
            pipelined(trial, &mut connection, 1000)
        },
    )
    .needs(ECHO),
    Case::must("request-overtakes", FRAME, "A request is answered while an earlier one waits.", |trial| {
        let mut connection = trial.connect()?;
        let name = format!("overtaken-{trial:p}");
        let requests = [trial.request(1, format!("wait {name}")), trial.echo(2, b"overtakes")];
        connection.send(&requests.map(|request| request.bytes()).concat())?;
        connection.expect(&trial.response(2, *b"overtakes"))
    })
    .needs(&[Need::Echo, Need::Wait]),
    Case::must(
        "request-half-close",
        FRAME,
        "A client may end its direction: the answer still comes.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&trial.echo(1, b"answered").bytes())?;
            connection.end_writing()?;
            connection.expect(&trial.response(1, *b"answered"))?;
            connection.ends()
        },
    )
    .needs(ECHO),
    Case::must(
        "request-half-close-pipelined",
        FRAME,
        "So do the answers to 64 requests in one write.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&many(trial, 64))?;
            connection.end_writing()?;
            answers(trial, &mut connection, 64)?;
            connection.ends()
        },
    )
    .needs(ECHO),
    Case::must(
        "request-half-close-probe",
        "Probe",
        "So does the answer to a probe, and nothing behind it.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&RawFrame::probe(1, &[9; 32]).bytes())?;
            connection.end_writing()?;
            connection.probe_response(1, [9; 32])?;
            connection.ends()
        },
    ),
    Case::must("request-on-fifty-connections", BOUNDS, "Fifty connections are served at once.", |trial| {
        let mut connections = (0..50).map(|_| trial.connect()).collect::<Result<Vec<_>, _>>()?;
        for connection in &mut connections {
            connection.send(&trial.echo(1, b"fifty").bytes())?;
        }
        // The last one first: none waits for the end of another.
        let mut last_first = connections.iter_mut().rev();
        last_first.try_for_each(|connection| connection.expect(&trial.response(1, *b"fifty")))
    })
    .needs(ECHO),
];

/// Returns the requests with the ids from 1 on, each for its id.
fn many(trial: &Trial<'_>, count: u64) -> Vec<u8> {
    (1..=count).flat_map(|id| trial.echo(id, id.to_string().as_bytes()).bytes()).collect()
}

fn answers(trial: &Trial<'_>, connection: &mut Connection, count: u64) -> Result<(), Fault> {
    let answers: Vec<RawFrame> = (1..=count).map(|id| trial.response(id, id.to_string())).collect();
    connection.expect_in_any_order(&answers)
}

fn pipelined(trial: &Trial<'_>, connection: &mut Connection, count: u64) -> Result<(), Fault> {
    connection.send(&many(trial, count))?;
    answers(trial, connection, count)
}
