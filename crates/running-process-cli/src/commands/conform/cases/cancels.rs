//! Cancels and deadlines.

use super::refusals::{CANCELLED, DEADLINE_PASSED};
use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::connection::Connection;
use crate::commands::conform::fault::{Fault, check};
use crate::commands::conform::frame::{CONTROL, RawFrame};
use crate::commands::conform::trial::Trial;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const CANCELS: &str = "Cancels";
const FRAME: &str = "Frame";
const ECHO: &[Need] = &[Need::Echo];
const WAIT: &[Need] = &[Need::Echo, Need::Wait];
/// The pause between two questions for the state of a request that waits.
const PAUSE: Duration = Duration::from_millis(2);
/// The times until the deadline of a request that waits, one after the other until it came early enough to wait.
const SOON: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(2), Duration::from_secs(6)];

pub(super) static CASES: &[Case] = &[
    Case::must("cancel-in-flight", CANCELS, "A cancel reaches the handler of its request.", |trial| {
        let mut connection = trial.connect()?;
        let name = wait(trial, &mut connection, 1, "in-flight")?;
        connection.send(&RawFrame::cancel(trial.target.protocol, 1).bytes())?;
        becomes(trial, &name, "cancelled")
    })
    .needs(WAIT),
    Case::must(
        "cancel-told",
        CANCELS,
        "A request that is cancelled is refused with the reason 3.",
        |trial| {
            let mut connection = trial.connect()?;
            wait(trial, &mut connection, 1, "told")?;
            connection.send(&RawFrame::cancel(trial.target.protocol, 1).bytes())?;
            connection.refusal(1, CANCELLED).map(drop)
        },
    )
    .should()
    .needs(WAIT),
    Case::must("cancel-goes-on", CANCELS, "A connection serves the next request after a cancel.", |trial| {
        let mut connection = trial.connect()?;
        let name = wait(trial, &mut connection, 1, "goes-on")?;
        connection.send(&RawFrame::cancel(trial.target.protocol, 1).bytes())?;
        becomes(trial, &name, "cancelled")?;
        echoes_behind_refusals(trial, &mut connection, 2)
    })
    .needs(WAIT),
    Case::must(
        "cancel-one-of-two",
        CANCELS,
        "A cancel ends the request with its id, and no other one.",
        |trial| {
            let mut connection = trial.connect()?;
            let first = wait(trial, &mut connection, 1, "first")?;
            let second = wait(trial, &mut connection, 2, "second")?;
            connection.send(&RawFrame::cancel(trial.target.protocol, 2).bytes())?;
            becomes(trial, &second, "cancelled")?;
            is_now(trial, &first, "waiting")
        },
    )
    .needs(WAIT),
    Case::must(
        "cancel-of-another-connection",
        CANCELS,
        "A cancel does not reach the request of another connection with the same id.",
        |trial| {
            let (mut one, mut other) = (trial.connect()?, trial.connect()?);
            let name = wait(trial, &mut one, 1, "another")?;
            trial.echoes(&mut other, 2, b"first")?;
            other.send(&RawFrame::cancel(trial.target.protocol, 1).bytes())?;
            trial.echoes(&mut other, 3, b"last")?;
            is_now(trial, &name, "waiting")
        },
    )
    .needs(WAIT),
    Case::must(
        "cancel-unknown-id",
        CANCELS,
        "A cancel of a request that was never sent does nothing.",
        |trial| {
            let mut connection = trial.connect()?;
            for id in [0, 9, u64::MAX] {
                connection.send(&RawFrame::cancel(trial.target.protocol, id).bytes())?;
                trial.echoes(&mut connection, 1, b"goes on")?;
            }
            Ok(())
        },
    )
    .needs(ECHO),
    Case::must(
        "cancel-answered",
        CANCELS,
        "A cancel of a request that was answered does nothing.",
        |trial| {
            let mut connection = trial.connect()?;
            trial.echoes(&mut connection, 1, b"answered")?;
            connection.send(&RawFrame::cancel(trial.target.protocol, 1).bytes())?;
            trial.echoes(&mut connection, 2, b"goes on")
        },
    )
    .needs(ECHO),
    Case::must("cancel-first", CANCELS, "A cancel may be the first frame of a connection.", |trial| {
        let mut connection = trial.connect()?;
        connection.send(&RawFrame::cancel(trial.target.protocol, 1).bytes())?;
        trial.echoes(&mut connection, 1, b"goes on")
    })
    .needs(ECHO),
    Case::must("cancel-with-payload", CANCELS, "The payload of a cancel is ignored.", |trial| {
        with(trial, "payload", |cancel| RawFrame { payload: b"echo x".to_vec(), ..cancel })
    })
    .should()
    .needs(WAIT),
    Case::must(
        "cancel-with-encoded-payload",
        CANCELS,
        "A payload of a cancel in any encoding is ignored.",
        |trial| with(trial, "encoded", |cancel| RawFrame { payload: vec![0xff; 9], encoding: 99, ..cancel }),
    )
    .should()
    .needs(WAIT),
    Case::must(
        "cancel-under-control",
        CANCELS,
        "A cancel under the control protocol has the same effect.",
        |trial| with(trial, "control", |cancel| RawFrame { protocol: CONTROL, ..cancel }),
    )
    .should()
    .needs(WAIT),
    Case::must(
        "cancel-under-another-protocol",
        CANCELS,
        "A cancel under a protocol that is not served has the same effect.",
        |trial| with(trial, "unserved", |cancel| RawFrame { protocol: 0x7EFE, ..cancel }),
    )
    .should()
    .needs(WAIT),
    Case::must("cancel-by-end", CANCELS, "The end of a connection cancels its requests.", |trial| {
        let mut connection = trial.connect()?;
        let name = wait(trial, &mut connection, 1, "ended")?;
        drop(connection);
        becomes(trial, &name, "cancelled")
    })
    .needs(WAIT),
    Case::must(
        "cancel-not-by-half-close",
        CANCELS,
        "The end of one direction cancels no request.",
        |trial| {
            let mut connection = trial.connect()?;
            let name = wait(trial, &mut connection, 1, "half-closed")?;
            connection.end_writing()?;
            // Further connections are served meanwhile, so that the daemon has the time to meet the end of this one.
            for _ in 0..50 {
                trial.still_serves()?;
                trial.echoes(&mut trial.connect()?, 1, b"meanwhile")?;
            }
            is_now(trial, &name, "waiting")
        },
    )
    .should()
    .needs(WAIT),
    Case::must("deadline-far", FRAME, "A request whose deadline is far is served.", |trial| {
        let mut connection = trial.connect()?;
        for (id, deadline) in [(1, after(Duration::from_hours(1))), (2, u64::MAX)] {
            connection.send(&RawFrame { deadline, ..trial.echo(id, b"in time") }.bytes())?;
            connection.expect(&trial.response(id, *b"in time"))?;
        }
        Ok(())
    })
    .needs(ECHO),
    Case::must(
        "deadline-passed",
        FRAME,
        "A request that arrives after its deadline is refused (reason 2).",
        |trial| {
            let mut connection = trial.connect()?;
            for (id, deadline) in [(1, 1), (2, after(Duration::ZERO) - 1000)] {
                connection.send(&RawFrame { deadline, ..trial.echo(id, b"late") }.bytes())?;
                connection.refusal(id, DEADLINE_PASSED)?;
            }
            trial.echoes(&mut connection, 3, b"no deadline")
        },
    )
    .should()
    .needs(ECHO),
    Case::must(
        "deadline-passes",
        FRAME,
        "A request in flight at its deadline is cancelled and refused with the reason 2.",
        |trial| {
            for soon in SOON {
                let mut connection = trial.connect()?;
                let name = named(trial, "deadline");
                let request = trial.request(1, format!("wait {name}"));
                connection.send(&RawFrame { deadline: after(soon), ..request }.bytes())?;
                connection.refusal(1, DEADLINE_PASSED)?;
                // On a busy machine the request may have arrived too late to wait.
                if ask(trial, &mut trial.connect()?, &name)? != b"unknown" {
                    return becomes(trial, &name, "cancelled");
                }
            }
            Err(Fault::new("a request that waits until its deadline", "one that never waited"))
        },
    )
    .should()
    .needs(WAIT),
];

/// Returns milliseconds since the Unix epoch.
fn after(time: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from((now + time).as_millis()).unwrap_or(u64::MAX)
}

/// Returns a name that no other run has used.
fn named(trial: &Trial<'_>, name: &str) -> String {
    format!("{name}-{}-{:p}", after(Duration::ZERO), trial)
}

/// Sends a request that waits, and returns its name once it does.
fn wait(trial: &Trial<'_>, connection: &mut Connection, id: u64, name: &str) -> Result<String, Fault> {
    let name = named(trial, name);
    connection.send(&trial.request(id, format!("wait {name}")).bytes())?;
    becomes(trial, &name, "waiting")?;
    Ok(name)
}

/// Asks on another connection until the state of the request is `state`.
fn becomes(trial: &Trial<'_>, name: &str, state: &str) -> Result<(), Fault> {
    let mut connection = trial.connect()?;
    loop {
        let got = ask(trial, &mut connection, name)?;
        if got == state.as_bytes() {
            return Ok(());
        }
        if Instant::now() + PAUSE > trial.deadline {
            let expected = format!("the state \"{state}\" of the request `wait {name}`");
            return Err(Fault::new(expected, format!("\"{}\" until the time was over", got.escape_ascii())));
        }
        thread::sleep(PAUSE);
    }
}

fn is_now(trial: &Trial<'_>, name: &str, state: &str) -> Result<(), Fault> {
    let got = ask(trial, &mut trial.connect()?, name)?;
    let expected = format!("the state \"{state}\" of the request `wait {name}`");
    check(got == state.as_bytes(), expected, || format!("\"{}\"", got.escape_ascii()))
}

/// Returns the state of the request that waits or waited.
fn ask(trial: &Trial<'_>, connection: &mut Connection, name: &str) -> Result<Vec<u8>, Fault> {
    connection.send(&trial.request(1, format!("ended {name}")).bytes())?;
    let expected = "the response to `ended`";
    let response = connection.frame(expected)?;
    let is_its = response.id == 1 && response.refusal().is_none();
    check(is_its, expected, || response.to_string())?;
    Ok(response.payload)
}

/// Checks that a cancel reaches its request although `change` has changed it.
fn with(trial: &Trial<'_>, name: &str, change: fn(RawFrame) -> RawFrame) -> Result<(), Fault> {
    let mut connection = trial.connect()?;
    let name = wait(trial, &mut connection, 1, name)?;
    connection.send(&change(RawFrame::cancel(trial.target.protocol, 1)).bytes())?;
    becomes(trial, &name, "cancelled")?;
    echoes_behind_refusals(trial, &mut connection, 2)
}

/// Sends a request, and skips the refusals of former ones.
fn echoes_behind_refusals(trial: &Trial<'_>, connection: &mut Connection, id: u64) -> Result<(), Fault> {
    connection.send(&trial.echo(id, b"goes on").bytes())?;
    let expected = trial.response(id, *b"goes on");
    let mut frame = connection.frame(&expected.to_string())?;
    while frame.refusal().is_some() && frame.id != id {
        frame = connection.frame(&expected.to_string())?;
    }
    let is_expected = frame.id == id && frame.payload == expected.payload;
    check(is_expected, expected.to_string(), || frame.to_string())
}
