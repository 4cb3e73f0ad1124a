//! Events of requests, and notices.

use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::connection::Connection;
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::{EVENT, RawFrame};
use crate::commands::conform::trial::Trial;

const EVENTS: &str = "Events";
const NEEDS: &[Need] = &[Need::Echo, Need::Events];

pub(super) static CASES: &[Case] = &[
    Case::must(
        "event-before-response",
        EVENTS,
        "Events have the id of their request and come before its response.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&trial.request(7, *b"events 5").bytes())?;
            events(trial, &mut connection, 7, 5)
        },
    )
    .needs(NEEDS),
    Case::must("event-none", EVENTS, "A request without events has its response alone.", |trial| {
        let mut connection = trial.connect()?;
        connection.send(&trial.request(1, *b"events 0").bytes())?;
        events(trial, &mut connection, 1, 0)?;
        trial.echoes(&mut connection, 2, b"next")
    })
    .needs(NEEDS),
    Case::must("event-many", EVENTS, "A thousand events come in their order.", |trial| {
        let mut connection = trial.connect()?;
        connection.send(&trial.request(1, *b"events 1000").bytes())?;
        events(trial, &mut connection, 1, 1000)?;
        trial.echoes(&mut connection, 2, b"next")
    })
    .needs(NEEDS),
    Case::must("event-id", EVENTS, "Events have the id of their request, whatever it is.", |trial| {
        let mut connection = trial.connect()?;
        [0, 1 << 32, u64::MAX].into_iter().try_for_each(|id| {
            connection.send(&trial.request(id, *b"events 2").bytes())?;
            events(trial, &mut connection, id, 2)
        })
    })
    .needs(NEEDS),
    Case::must(
        "event-of-two-requests",
        EVENTS,
        "Events of two requests may mix; those of each keep their order.",
        |trial| {
            let mut connection = trial.connect()?;
            let requests = [trial.request(1, *b"events 50"), trial.request(2, *b"events 50")];
            connection.send(&requests.map(|request| request.bytes()).concat())?;
            let mut next = [0_u32; 2];
            while next != [51, 51] {
                let frame = connection.frame("the events and the responses of requests 1 and 2")?;
                let which = usize::from(frame.id == 2);
                let number = next[which];
                let expected = if number < 50 {
                    event(trial, which as u64 + 1, number)
                } else {
                    trial.response(which as u64 + 1, *b"50")
                };
                let is_next =
                    (frame.kind, frame.id, &frame.payload) == (expected.kind, expected.id, &expected.payload);
                check(is_next && number <= 50, expected.to_string(), || frame.to_string())?;
                next[which] += 1;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    Case::must(
        "event-after-half-close",
        EVENTS,
        "Events and their response come after the client's half-close.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&trial.request(1, *b"events 100").bytes())?;
            connection.end_writing()?;
            events(trial, &mut connection, 1, 100)?;
            connection.ends()
        },
    )
    .needs(NEEDS),
    Case::must("event-trace-context", EVENTS, "An event has the trace context of its request.", |trial| {
        let mut connection = trial.connect()?;
        let traceparent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec();
        let request = RawFrame { traceparent, ..trial.request(1, *b"events 1") };
        connection.send(&request.bytes())?;
        let event = connection.receive(&event(trial, 1, 0))?;
        check(event.traceparent == request.traceparent, "the trace context of the request", || {
            format!("\"{}\"", event.traceparent.escape_ascii())
        })
    })
    .should()
    .needs(NEEDS),
    Case::must(
        "event-no-tags-of-ours",
        EVENTS,
        "An event for a client that sent no tag from 1000 on has none.",
        |trial| {
            let mut connection = trial.connect()?;
            connection.send(&trial.request(1, *b"events 2").bytes())?;
            for number in 0..2 {
                connection.receive(&event(trial, 1, number))?.has_no_tags_of_ours()?;
            }
            connection.receive(&trial.response(1, *b"2"))?.has_no_tags_of_ours()
        },
    )
    .needs(NEEDS),
    Case::must(
        "event-notice-not-asked",
        "Notices",
        "A client that asks for no notices gets none.",
        |trial| {
            let mut connection = trial.connect()?;
            trial.echoes(&mut connection, 1, b"first")?;
            connection.probe(2, [2; 32])?;
            trial.echoes(&mut connection, 3, b"last")?;
            connection.end_writing()?;
            connection.ends()
        },
    )
    .needs(&[Need::Echo]),
    Case::must("event-nothing-unasked", "Notices", "A daemon sends nothing before a client does.", |trial| {
        let mut connection = trial.connect()?;
        trial.still_serves()?;
        connection.end_writing()?;
        connection.ends()
    }),
];

fn event(trial: &Trial<'_>, id: u64, number: u32) -> RawFrame {
    RawFrame { kind: EVENT, ..trial.request(id, number.to_string()) }
}

/// Checks that the next frames are so many events of the request, and its response.
fn events(trial: &Trial<'_>, connection: &mut Connection, id: u64, count: u32) -> Result<(), Fault> {
    (0..count).try_for_each(|number| connection.expect(&event(trial, id, number)))?;
    connection.expect(&trial.response(id, count.to_string()))
}
