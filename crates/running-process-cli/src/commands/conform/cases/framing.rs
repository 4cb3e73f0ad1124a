//! The header, and frames at every cut.

use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::connection::Next;
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::{HEADER, MAX_BODY, RawFrame, header};
use crate::commands::conform::trial::Trial;
use std::time::{Duration, Instant};

const HEADER_SECTION: &str = "Header";
const ECHO: &[Need] = &[Need::Echo];

/// Longest wait for bytes that must not come from a daemon which may keep the connection open.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) static CASES: &[Case] = &[
    Case::must("framing-one-write", HEADER_SECTION, "A frame may arrive in one write.", |trial| {
        trial.echoes(&mut trial.connect()?, 1, b"whole")
    })
    .needs(ECHO),
    Case::must("framing-byte-by-byte", HEADER_SECTION, "A frame may arrive one byte at a time.", |trial| {
        let mut connection = trial.connect()?;
        trial.send_pieces(&mut connection, trial.echo(1, b"bytewise").bytes().chunks(1))?;
        connection.expect(&trial.response(1, *b"bytewise"))
    })
    .needs(ECHO),
    Case::must(
        "framing-header-cut",
        HEADER_SECTION,
        "A header may be cut after any of its bytes, on a new connection.",
        |trial| (1..=HEADER).try_for_each(|at| cut_on_a_new_connection(trial, at)),
    )
    .needs(ECHO),
    Case::must(
        "framing-every-cut",
        HEADER_SECTION,
        "A frame may be cut into two writes anywhere.",
        |trial| {
            let mut connection = trial.connect()?;
            let length = trial.echo(1, b"cut").bytes().len();
            for at in 1..length {
                let id = at as u64;
                let request = trial.echo(id, b"cut").bytes();
                let (first, second) = request.split_at(at);
                trial.send_pieces(&mut connection, [first, second])?;
                let answered = connection.expect(&trial.response(id, *b"cut"));
                answered.map_err(|fault| fault.context(format_args!("a frame cut after {at} bytes")))?;
            }
            Ok(())
        },
    )
    .needs(ECHO),
    Case::must("framing-two-in-one-write", HEADER_SECTION, "Two frames may arrive in one write.", |trial| {
        let mut connection = trial.connect()?;
        connection.send(&[trial.echo(1, b"one").bytes(), trial.echo(2, b"two").bytes()].concat())?;
        connection.expect_in_any_order(&[trial.response(1, *b"one"), trial.response(2, *b"two")])
    })
    .needs(ECHO),
    Case::must(
        "framing-one-and-a-half",
        HEADER_SECTION,
        "A write may end within a later frame, whose rest comes with the next write.",
        |trial| {
            let mut connection = trial.connect()?;
            let second = trial.echo(2, b"two").bytes();
            for at in 1..second.len() {
                let (begin, rest) = second.split_at(at);
                connection.send(&[&trial.echo(1, b"one").bytes(), begin].concat())?;
                let answered = connection.expect(&trial.response(1, *b"one"));
                answered.map_err(|fault| fault.context(format_args!("with {at} bytes of the next frame")))?;
                connection.send(rest)?;
                connection.expect(&trial.response(2, *b"two"))?;
            }
            Ok(())
        },
    )
    .needs(ECHO),
    Case::must(
        "framing-probe-byte-by-byte",
        HEADER_SECTION,
        "A probe may arrive one byte at a time.",
        |trial| {
            let mut connection = trial.connect()?;
            trial.send_pieces(&mut connection, RawFrame::probe(1, &[1; 32]).bytes().chunks(1))?;
            connection.probe_response(1, [1; 32]).map(drop)
        },
    ),
    Case::must(
        "framing-probe-every-cut",
        HEADER_SECTION,
        "A probe may be cut into two writes anywhere.",
        |trial| {
            let probe = RawFrame::probe(1, &[2; 32]).bytes();
            (1..probe.len()).try_for_each(|at| {
                let mut connection = trial.connect()?;
                trial.send_pieces(&mut connection, [&probe[..at], &probe[at..]])?;
                let answered = connection.probe_response(1, [2; 32]);
                answered
                    .map(drop)
                    .map_err(|fault| fault.context(format_args!("a probe cut after {at} bytes")))
            })
        },
    ),
    Case::must(
        "framing-empty-body",
        HEADER_SECTION,
        "A body of no bytes is a frame with defaults, whose protocol no daemon serves.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&header(0))?;
            connection.ends_or_refuses()?;
            trial.still_serves()
        },
    ),
    Case::must(
        "framing-cap-exceeded",
        HEADER_SECTION,
        "A length above 16 MiB is refused as soon as the header has arrived.",
        |trial| refused_header(trial, &header(MAX_BODY + 1)),
    ),
    Case::must(
        "framing-length-max",
        HEADER_SECTION,
        "The longest length that a header can have is refused as soon as it has arrived.",
        |trial| refused_header(trial, &header(u32::MAX as usize)),
    ),
    Case::must(
        "framing-cap-exceeded-later",
        HEADER_SECTION,
        "A length above 16 MiB is refused behind a frame that was served, too.",
        |trial| {
            let mut connection = trial.connect()?;
            trial.echoes(&mut connection, 1, b"first")?;
            connection.send(&header(MAX_BODY + 1))?;
            connection.ends()?;
            trial.still_serves()
        },
    )
    .needs(ECHO),
    Case::must(
        "framing-cap-reached",
        HEADER_SECTION,
        "A body of exactly 16 MiB is served, and so is a response of nearly that size.",
        |trial| {
            let mut connection = trial.connect()?;
            let mut payload = vec![b'x'; MAX_BODY];
            let envelope = trial.echo(1, &payload).body().len() - MAX_BODY;
            payload.truncate(MAX_BODY - envelope);
            let request = trial.echo(1, &payload).bytes();
            debug_assert_eq!(request.len(), HEADER + MAX_BODY);
            connection.send(&request)?;
            let response = connection.frame("the response with the payload of the request")?;
            let expected = trial.response(1, payload);
            check(response.payload == expected.payload, expected.to_string(), || response.to_string())
        },
    )
    .needs(ECHO)
    .alone(),
    Case::must(
        "framing-other-version",
        HEADER_SECTION,
        "A connection whose first byte is not 1 is not framed: a probe behind another byte is not answered.",
        |trial| {
            for version in [0, 2, 0x80, 0xff] {
                let mut connection = trial.connect()?;
                let mut probe = RawFrame::probe(1, &[3; 32]).bytes();
                probe[0] = version;
                connection.send(&probe)?;
                connection.end_writing()?;
                connection.deadline = connection.deadline.min(Instant::now() + SILENCE);
                // Anything but an answer to the probe is the daemon's own wire.
                if connection.probe_response(1, [3; 32]).is_ok() {
                    return Err(Fault::new(
                        format!("no probe's answer to a message that begins with 0x{version:02x}"),
                        "the answer to the probe",
                    ));
                }
            }
            trial.still_serves()
        },
    ),
    Case::must(
        "framing-other-version-later",
        HEADER_SECTION,
        "Once a frame was served, a message that does not begin with 1 ends the connection.",
        |trial| {
            let mut connection = trial.connect()?;
            trial.echoes(&mut connection, 1, b"first")?;
            let mut request = trial.echo(2, b"second").bytes();
            request[0] = 2;
            connection.send(&request)?;
            connection.ends()?;
            trial.still_serves()
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "framing-cut-off",
        HEADER_SECTION,
        "A frame that the client does not finish is not served, and its connection ends.",
        |trial| {
            let request = trial.echo(1, b"unfinished").bytes();
            for length in [1, 4, HEADER, HEADER + 3, request.len() - 1] {
                let mut connection = trial.connect()?;
                connection.send(&request[..length])?;
                connection.end_writing()?;
                if let Next::Frame(frame) = connection.next("the end of the connection")? {
                    return Err(Fault::new("the end of the connection", frame.to_string()));
                }
            }
            trial.still_serves()
        },
    )
    .needs(ECHO),
];

fn cut_on_a_new_connection(trial: &Trial<'_>, at: usize) -> Result<(), Fault> {
    let mut connection = trial.connect()?;
    let request = trial.echo(1, b"cut").bytes();
    trial.send_pieces(&mut connection, [&request[..at], &request[at..]])?;
    let answered = connection.expect(&trial.response(1, *b"cut"));
    answered.map_err(|fault| fault.context(format_args!("a header cut after {at} bytes")))
}

fn refused_header(trial: &Trial<'_>, header: &[u8]) -> Result<(), Fault> {
    let mut connection = trial.connect()?;
    connection.send(header)?;
    connection.ends()?;
    trial.still_serves()
}
