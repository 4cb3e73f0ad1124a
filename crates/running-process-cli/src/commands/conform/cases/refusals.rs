//! Refusals, protocols and encodings that are not served.

use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::{CONTROL, RawFrame};
use crate::commands::conform::trial::Trial;

const REFUSALS: &str = "Refusals";
const PROTOCOLS: &str = "Payload protocols";
const ECHO: &[Need] = &[Need::Echo];

/// Reasons of refusals.
pub(super) const DEADLINE_PASSED: u64 = 2;
pub(super) const CANCELLED: u64 = 3;
const UNSERVED_PROTOCOL: u64 = 4;
pub(super) const BAD_ENCODING: u64 = 5;
const HANDLER_FAILED: u64 = 7;

/// Identifiers of first-party protocols other than that of probes.
const FIRST_PARTY: [u64; 3] = [CONTROL, 0xAD01, 0xD0FF];
const SESSION: u64 = 0x5350;
/// Identifiers that hardly any daemon serves.
const UNSERVED: [u64; 3] = [0x7EFE, 0xF0C1, 0xFEED];

pub(super) static CASES: &[Case] = &[
    Case::must(
        "refusal-handler-failed",
        REFUSALS,
        "A request that fails is refused with the reason 7.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&trial.request(7, *b"fail as asked").bytes())?;
            let message = connection.refusal(7, HANDLER_FAILED)?;
            check(message.contains("as asked"), "a message that contains \"as asked\"", || {
                format!("\"{message}\"")
            })
        },
    )
    .needs(ECHO),
    Case::must(
        "refusal-unknown-word",
        REFUSALS,
        "A request that the handler does not know fails.",
        |trial| {
            let mut connection = trial.connect()?;
            [&b"conjure 1"[..], b"echo", b"ECHO x", b"", b" ", b"events x", b"events 10001"]
                .into_iter()
                .zip(1..)
                .try_for_each(|(payload, id)| {
                    connection.send(&trial.request(id, payload).bytes())?;
                    let refused = connection.refusal(id, HANDLER_FAILED).map(drop);
                    refused.map_err(|fault| fault.context(format_args!("after `{}`", payload.escape_ascii())))
                })
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "refusal-goes-on",
        REFUSALS,
        "A connection serves the next request after a refusal.",
        |trial| {
            let mut connection = trial.connect()?;
            for id in [1, 3, 5] {
                connection.send(&trial.request(id, *b"fail again").bytes())?;
                connection.refusal(id, HANDLER_FAILED)?;
                trial.echoes(&mut connection, id + 1, b"next")?;
            }
            Ok(())
        },
    )
    .needs(ECHO),
    Case::must(
        "refusal-among-answers",
        REFUSALS,
        "A request that fails among others in one write does not change their answers.",
        |trial| {
            let mut connection = trial.connect()?;
            let fail = trial.request(2, *b"fail alone");
            let requests = [trial.echo(1, b"one"), fail, trial.echo(3, b"three")];
            connection.send(&requests.map(|request| request.bytes()).concat())?;
            let mut refused = false;
            let mut answers = Vec::new();
            for _ in 0..3 {
                let frame = connection.frame("two answers and a refusal")?;
                if frame.refusal().is_some() && frame.id == 2 { refused = true } else { answers.push(frame) }
            }
            answers.sort_by_key(|answer| answer.id);
            let is_right =
                |answer: &RawFrame, id, payload: &[u8]| answer.id == id && answer.payload == payload;
            let all = refused && is_right(&answers[0], 1, b"one") && is_right(&answers[1], 3, b"three");
            check(all, "the answers of requests 1 and 3, and a refusal of request 2", || {
                answers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            })
        },
    )
    .needs(ECHO),
    Case::must(
        "refusal-unserved-protocol",
        PROTOCOLS,
        "A request of a protocol that is not served gets no answer, and other connections go on.",
        |trial| UNSERVED.into_iter().try_for_each(|protocol| not_served(trial, protocol)),
    ),
    Case::must(
        "refusal-unserved-protocol-told",
        REFUSALS,
        "A request of a protocol that is not served is refused with the reason 4.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&RawFrame::request(unserved(trial), 9, *b"x").bytes())?;
            connection.refusal(9, UNSERVED_PROTOCOL).map(drop)
        },
    )
    .should(),
    Case::must(
        "refusal-first-party",
        PROTOCOLS,
        "Control, administration and handoff are first-party protocols, which no daemon serves.",
        |trial| FIRST_PARTY.into_iter().try_for_each(|protocol| not_served(trial, protocol)),
    ),
    Case::must(
        "refusal-session-streams",
        PROTOCOLS,
        "Session streams are a first-party protocol, too.",
        |trial| not_served(trial, SESSION),
    )
    .should(),
    Case::must(
        "refusal-protocol-above-16-bits",
        PROTOCOLS,
        "An identifier above 16 bits is not taken for the one of its lower bits.",
        |trial| {
            let mut connection = trial.connect()?;
            let protocol = 1 << 16 | trial.target.protocol;
            connection.send(&RawFrame { protocol, ..trial.echo(1, b"above") }.bytes())?;
            connection.ends_or_refuses()?;
            trial.still_serves()
        },
    )
    .needs(ECHO),
];

/// Returns an identifier that the daemon does not serve.
fn unserved(trial: &Trial<'_>) -> u64 {
    UNSERVED[usize::from(UNSERVED[0] == trial.target.protocol)]
}

fn not_served(trial: &Trial<'_>, protocol: u64) -> Result<(), Fault> {
    if protocol == trial.target.protocol {
        return Ok(());
    }
    let mut connection = trial.connect()?;
    let request = RawFrame::request(protocol, 1, *b"echo x");
    connection.send(&request.bytes())?;
    connection.end_writing()?;
    connection.ends_or_refuses().map_err(|fault| fault.context(format_args!("after {request}")))?;
    trial.still_serves()
}
