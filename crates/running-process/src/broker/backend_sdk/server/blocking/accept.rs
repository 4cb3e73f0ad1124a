//! Accepting connections, and giving each its slot.

use super::conn::{Conn, Context};
use super::events::DRAIN;
use crate::broker::backend_sdk::server::acceptor::{AcceptStep, Acceptor};
use crate::broker::backend_sdk::server::publication::Publication;
use crate::broker::backend_sdk::server::sync::{self, LocalStream};
use crate::broker::backend_sdk::{ACCEPT_PAUSE, PeerCredentials, Phase, ServeError, ServerSession, Slot};
use crate::transport::{Accepted, LocalListener, LocalStream as SystemStream};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time for which the accepting thread waits for the first bytes of a connection that no thread can read.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_millis(10);

/// Accepts the connections that `next` returns, until the server is stopped or the listener is broken. `listener` is the one to
/// renew.
pub(super) fn accept(
    context: &Arc<Context>,
    publication: &Publication,
    listener: &Mutex<Option<LocalListener>>,
    mut next: impl FnMut() -> io::Result<Accepted<SystemStream>>,
) -> io::Result<()> {
    let mut acceptor = Acceptor::new(publication);
    loop {
        match acceptor.step(next(), &context.policy) {
            AcceptStep::Serve(stream) => serve_accepted(context, stream),
            AcceptStep::Accept => {}
            AcceptStep::Pause => {
                let open = context.table().len();
                context.wait_closed(Instant::now().checked_add(ACCEPT_PAUSE), |now_open| now_open < open);
            }
            AcceptStep::Renew => {
                for stream in publication.renew(listener, &context.policy, &context.stop) {
                    serve_accepted(context, stream);
                }
            }
            AcceptStep::End(result) => return result,
        }
    }
}

/// Serves a connection of the server's own listener. If the server is stopped meanwhile, what the peer has sent is answered.
fn serve_accepted(context: &Arc<Context>, stream: SystemStream) {
    if let Err(error) = serve(context, sync::shared(stream), Phase::Draining) {
        context.policy.report(&error);
    }
}

/// Serves the connection, once it has a slot. It is closed if the server is beyond the phase `last` before that.
pub(super) fn serve(context: &Arc<Context>, stream: LocalStream, last: Phase) -> Result<(), ServeError> {
    let peer = PeerCredentials::of(stream.user())?;
    let opening = context.opening();
    let Some(slot) = slot(context, last) else { return Ok(()) };
    // A recorder of metrics is called here, so the table is not locked.
    let session = ServerSession::new(Arc::clone(&context.policy), peer, slot, Instant::now());
    let mut table = context.table();
    if context.phase() > last {
        return Ok(());
    }
    let open = |id| Arc::new(Conn::new(id, Arc::clone(context), stream, session));
    let conn = Arc::clone(table.insert(slot, open));
    drop((table, opening));
    match &context.poller {
        Some(poller) => conn.begin(poller),
        None => {
            let (reader, reading) = (Arc::clone(context), Arc::clone(&conn));
            if let Err(error) = context.pool.submit(Box::new(move || reader.read(&reading))) {
                // This thread has others to accept, so it reads once.
                conn.refuse(error, Instant::now() + FIRST_BYTES_TIMEOUT);
            }
        }
    }
    if context.phase() != Phase::Serving {
        // The stop may not have seen this connection.
        context.wake(&conn);
    }
    Ok(())
}

/// Waits for a slot for a connection that was accepted; `None` if the server is beyond the phase `last` before there is one.
fn slot(context: &Context, last: Phase) -> Option<Slot> {
    while context.phase() <= last {
        let table = context.table();
        let open = table.len();
        let slot = table.slot(Instant::now(), |conn| {
            conn.leave(DRAIN);
            context.wake(conn);
        });
        drop(table);
        match slot {
            Ok(slot) => return Some(slot),
            Err(time) => context.wait_closed(Instant::now().checked_add(time), |now_open| now_open < open),
        };
    }
    None
}
