//! What the threads do: one accepts, one has the turn on each connection, and more serve its requests.

use super::super::payload::Payload;
use super::link::{Concurrent, Input, Link, Step, Taken};
use super::service::{EXHAUSTED_PAUSE, is_exhausted};
use super::shared::Shared;
use super::sync::{self, LocalStream};
use super::turn::{Turn, Watch};
use super::{LegacyConnection, ServerRequest, ServerTrouble};
use crate::broker::protocol::Refusal;
use crate::transport::{Late, LocalListener};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// Accepts until the server is stopped.
pub(super) fn accept(shared: &Arc<Shared>, listener: &LocalListener) -> io::Result<()> {
    let mut next_id = 0_u64;
    loop {
        match listener.accept(&shared.signal) {
            Ok(None) => return Ok(()),
            Ok(Some(stream)) => {
                if let Err(trouble) = start(shared, next_id, sync::shared(stream)) {
                    shared.service.observation.trouble(&trouble);
                }
                next_id += 1;
            }
            Err(error) if is_exhausted(&error) => {
                shared.service.observation.trouble(&ServerTrouble::Accept(error));
                let open = shared.open_connections();
                shared.wait_for(EXHAUSTED_PAUSE, |now_open| now_open < open);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Gives the connection a thread, unless there are too many.
pub(super) fn start(shared: &Arc<Shared>, id: u64, stream: LocalStream) -> Result<(), ServerTrouble> {
    let max_connections = shared.service.config.max_connections;
    if shared.open_connections() >= max_connections {
        return Err(ServerTrouble::TooManyConnections { max_connections });
    }
    let link = Arc::new(Link::new(Arc::clone(shared), id, stream)?);
    shared.opened(&link);
    shared.run(Box::new(move |scratch| take_turn(&link, Turn::default(), scratch)));
    Ok(())
}

/// Reads the connection and serves what is quick, until it is over or another thread has the turn.
pub(super) fn take_turn(link: &Arc<Link>, turn: Turn, scratch: &mut [u8]) {
    let mut late = Late::default();
    loop {
        let input = match link.next_step(turn) {
            Step::Serve(call) => {
                serve(link, call, Some(turn));
                continue;
            }
            Step::Passed => return,
            Step::Read(deadline, None) => {
                let read = link.stream.read_before(scratch, deadline);
                match late.or(read, || link.stream.read_arrived(scratch)) {
                    Ok(length @ 1..) => Input::Bytes(&scratch[..length]),
                    nothing => why(link, nothing),
                }
            }
            Step::Read(deadline, Some(mut buffer)) => {
                let read = link.stream.read_onto(&mut buffer, deadline);
                match late.or(read, || link.stream.read_arrived_onto(&mut buffer)) {
                    Ok(length @ 1..) => Input::Onto(buffer, length),
                    nothing => {
                        link.give_back(buffer);
                        why(link, nothing)
                    }
                }
            }
            Step::Watch(deadline) => match link.stream.wait_hang_up(deadline) {
                Ok(true) => Input::Gone,
                Ok(false) => Input::Time,
                Err(error) => Input::Failed(error),
            },
            Step::Time => Input::Time,
            Step::Legacy(buffered) => {
                hand_over(link, buffered);
                return link.shared.closed(link);
            }
            Step::End => return link.shared.closed(link),
        };
        let shared = &link.shared;
        let Taken { calls, quick, unwatched } = link.take(input, turn);
        if unwatched {
            Watch::add(shared, link);
        }
        let mut calls = calls.into_iter();
        if quick {
            shared.submit(link, calls);
            continue;
        }
        let Some(first) = calls.next() else { continue };
        // Somebody reads on before anything here can block.
        let reading = Arc::clone(link);
        shared.run(Box::new(move |scratch| take_turn(&reading, turn, scratch)));
        shared.submit(link, calls);
        link.flush();
        return serve(link, first, None);
    }
}

/// Why nothing was read.
fn why(link: &Link, read: io::Result<usize>) -> Input<'static> {
    match read {
        Ok(_) => match link.stream.wait_hang_up(Some(Instant::now())) {
            Ok(gone) => Input::Eof { gone },
            Err(error) => Input::Failed(error),
        },
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Input::Time,
        Err(error) => Input::Failed(error),
    }
}

/// Has its handler serve `call`, and theirs those that follow it on the thread that has the turn.
pub(super) fn serve(link: &Arc<Link>, call: Concurrent, turn: Option<Turn>) {
    let mut next = Some(call);
    let mut began = Instant::now();
    while let Some(concurrent) = next {
        let (call, payload_protocol) = (concurrent.call, concurrent.payload_protocol());
        let answer = answer(link, concurrent);
        let ended = Instant::now();
        link.shared.pace(payload_protocol).note(ended.saturating_duration_since(began));
        next = link.finish(call, answer, ended, turn);
        began = ended;
    }
}

fn answer(link: &Arc<Link>, call: Concurrent) -> Result<Payload, Refusal> {
    let Concurrent { call, handler, request, cancel: cancellation, span } = call;
    if cancellation.get().is_some() {
        // Nobody waits for it any more, so it need not begin.
        return Ok(Payload::default());
    }
    let payload_protocol = request.frame().payload_protocol;
    let request = ServerRequest::new(request, cancellation, Arc::clone(link), call);
    span.in_scope(|| {
        let answer = catch_unwind(AssertUnwindSafe(|| handler(&request)));
        link.shared.service.judge(payload_protocol, answer)
    })
}

/// The connection speaks the legacy wire from now on.
fn hand_over(link: &Arc<Link>, buffered: Vec<u8>) {
    let service = &link.shared.service;
    let Some(handler) = &link.shared.legacy else {
        return service.observation.trouble(&ServerTrouble::LegacyNotServed);
    };
    let connection = LegacyConnection::new(buffered, Arc::clone(&link.stream));
    if catch_unwind(AssertUnwindSafe(|| handler(connection))).is_err() {
        service.observation.trouble(&ServerTrouble::HandlerPanicked);
    }
}
