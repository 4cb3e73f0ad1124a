//! What the threads do: one accepts, one has the turn on each connection, and more serve its requests.

use super::adaptive::{Turn, Watch};
use super::conn::{Concurrent, Input, Link, Step, Taken};
use super::context::Shared;
use super::legacy::LegacyConnection;
use super::request::ServerRequest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::accept_errors::{ACCEPT_PAUSE, AcceptErrors, AfterError};
use crate::broker::backend_sdk::server::callback;
use crate::broker::backend_sdk::server::config::ServerTrouble;
use crate::broker::backend_sdk::server::sync::{self, LocalStream};
use crate::broker::protocol::Refusal;
use crate::transport::{Accepted, LateReads, LocalListener};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time for which the first bytes of a connection without a thread are waited for: those of a client that connects in
/// order to ask are there by then.
const FIRST_BYTES: Duration = Duration::from_millis(10);

/// Accepts until the server is stopped. The listener is locked only while this waits for a connection, which a stop ends. So
/// the listener can be closed although the observer, which is called in between, does not return.
pub(super) fn accept(
    shared: &Arc<Shared>,
    listener: &Mutex<Option<LocalListener>>,
    path: &str,
) -> io::Result<()> {
    let mut next_id = 0_u64;
    let mut errors = AcceptErrors::default();
    loop {
        let accepted = match &*listener.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(listener) => listener.next(&shared.signal),
            None => return Ok(()),
        };
        match accepted {
            Ok(Accepted::Stopped) => return Ok(()),
            Ok(Accepted::NameLost) => {
                shared.service.observation.trouble(&ServerTrouble::EndpointLost { path: path.to_owned() });
            }
            Ok(Accepted::Connection(stream)) => {
                errors.forget();
                if let Err(trouble) = start(shared, next_id, sync::shared(stream)) {
                    shared.service.observation.trouble(&trouble);
                }
                next_id += 1;
            }
            Err(error) => {
                let (error, after) = errors.judge(error)?;
                shared.service.observation.trouble(&ServerTrouble::Accept(error));
                if after == AfterError::Pause {
                    let open = shared.open_connections();
                    shared.wait_for(ACCEPT_PAUSE, |now_open| now_open < open);
                }
            }
        }
    }
}

/// Gives the connection a thread, unless none can be made. While there are too many connections it waits for its place.
pub(super) fn start(shared: &Arc<Shared>, id: u64, stream: LocalStream) -> Result<(), ServerTrouble> {
    let Some(place) = shared.place() else { return Ok(()) };
    let link = Arc::new(Link::new(Arc::clone(shared), id, stream, place)?);
    shared.opened(&link);
    if place.is_over_capacity() {
        // Before the peer is told: whoever knows of a refusal finds it counted.
        shared.service.observation.trouble(&shared.service.too_many_connections());
    }
    let reading = Arc::clone(&link);
    let reader = Box::new(move |scratch: &mut [u8]| Reader::new(&reading, Turn::default()).run(scratch));
    if let Err(error) = shared.pool.submit(reader) {
        // This thread has others to accept, so it reads once.
        let reader = Reader::new(&link, Turn::default());
        let refusal = shared.service.no_thread(error);
        link.refuse_peer(refusal, reader.turn, Instant::now() + FIRST_BYTES);
        return Ok(());
    }
    Ok(())
}

/// The thread that reads a connection. When this is dropped and still has the turn, the connection is closed and does not
/// count as open any more: it has ended, or the thread panicked.
pub(super) struct Reader<'l> {
    link: &'l Arc<Link>,
    turn: Turn,
    late: LateReads,
    /// Another thread was given the turn by this one.
    handed_over: bool,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if !self.handed_over && self.link.end(self.turn) {
            self.link.shared.closed(self.link);
        }
    }
}

impl<'l> Reader<'l> {
    pub(super) fn new(link: &'l Arc<Link>, turn: Turn) -> Self {
        Self { link, turn, late: LateReads::default(), handed_over: false }
    }

    /// Reads the connection and serves what is quick, until it is over or another thread has the turn.
    pub(super) fn run(mut self, scratch: &mut [u8]) {
        let link = self.link;
        let shared = &link.shared;
        while let Some(input) = self.next_input(scratch) {
            let Taken { calls, quick } = link.take(input, self.turn);
            let mut calls = calls.into_iter();
            if quick {
                link.refuse(shared.submit(link, calls));
                continue;
            }
            let Some(first) = calls.next() else { continue };
            // Another thread reads on before anything here can block.
            match self.hand_over() {
                Ok(()) => {
                    link.refuse(shared.submit(link, calls));
                    link.flush();
                    return serve(link, first, None);
                }
                Err(error) => {
                    let refusal = shared.service.no_thread(error);
                    let calls = std::iter::once(first).chain(calls).map(|call| call.call);
                    link.refuse(calls.map(|call| (call, refusal.clone())).collect());
                }
            }
        }
    }

    /// Hands reading over to another thread.
    fn hand_over(&mut self) -> io::Result<()> {
        let (link, turn) = (Arc::clone(self.link), self.turn);
        self.handed_over = true;
        let submitted = self.link.shared.pool.submit(Box::new(move |scratch| {
            Reader::new(&link, turn).run(scratch);
        }));
        self.handed_over = submitted.is_ok();
        submitted
    }

    /// Waits for the next input from the peer or the clock; serves what is quick until then. `None`: this thread has
    /// nothing more to read.
    fn next_input<'s>(&mut self, scratch: &'s mut [u8]) -> Option<Input<'s>> {
        let (link, turn) = (self.link, self.turn);
        loop {
            return Some(match link.next_step(turn) {
                Step::Serve { call, unwatched } => {
                    if unwatched && !Watch::add(&link.shared, link) {
                        link.unwatched();
                    }
                    serve(link, call, Some(turn));
                    continue;
                }
                Step::Read(deadline, None) => {
                    let read = link.stream.read_deadline(scratch, deadline);
                    match self.late.or(read, || link.stream.read_arrived(scratch)) {
                        Ok(length @ 1..) => Input::Bytes(&scratch[..length]),
                        nothing => why(link, nothing),
                    }
                }
                Step::Read(deadline, Some(mut buffer)) => {
                    let read = link.stream.read_onto(&mut buffer, deadline);
                    match self.late.or(read, || link.stream.read_arrived_onto(&mut buffer)) {
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
                    serve_legacy(link, buffered);
                    return None;
                }
                Step::Passed | Step::End => return None,
            });
        }
    }
}

/// Takes the turn from the thread that serves a quick request, if that is still the last of `begun`, and reads on.
pub(super) fn take_over(link: &Arc<Link>, begun: u64, scratch: &mut [u8]) {
    if let Some(turn) = link.pass_turn(begun) {
        let reader = Reader::new(link, turn);
        // Answers from before the slow request wait for nothing.
        link.flush();
        reader.run(scratch);
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
        if turn.is_none() {
            link.wait_for_room(call);
        }
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
    let caller = || link.caller(call);
    span.in_scope(|| link.shared.service.judge(payload_protocol, || handler(&request), caller))
}

/// The connection speaks the legacy wire from now on.
fn serve_legacy(link: &Arc<Link>, buffered: Vec<u8>) {
    let service = &link.shared.service;
    let Some(handler) = &link.shared.legacy else {
        return service.observation.trouble_of(link.peer(), &ServerTrouble::LegacyNotServed);
    };
    let connection = LegacyConnection::new(buffered, link);
    if callback::run(|| handler(connection)).is_none() {
        service.observation.trouble_of(link.peer(), &ServerTrouble::HandlerPanicked);
    }
}
