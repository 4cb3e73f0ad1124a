//! Accepting connections, and giving each its slot.

use super::conn::{Conn, Context};
use crate::broker::backend_sdk::server::accept_errors::{ACCEPT_PAUSE, AcceptErrors, AfterError};
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::connection_table::{REPLACE_TIMEOUT, Slot, SlotOffer};
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::phase::Phase;
use crate::broker::backend_sdk::server::session::ServerSession;
use crate::broker::backend_sdk::server::sync::{self, LocalStream};
use crate::transport::{Accepted, LocalListener};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time for which the accepting thread waits for the first bytes of a connection that no thread can read.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_millis(10);

/// Accepts until the server is stopped. The listener is locked only while this waits for a connection, which a stop ends. So
/// the listener can be closed although the observer, which is called in between, does not return.
pub(super) fn accept(
    context: &Arc<Context>,
    listener: &Mutex<Option<LocalListener>>,
    path: &str,
) -> io::Result<()> {
    let mut errors = AcceptErrors::default();
    loop {
        let accepted = match &*listener.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(listener) => listener.next(&context.signal),
            None => return Ok(()),
        };
        match accepted {
            Ok(Accepted::Stopped) => return Ok(()),
            Ok(Accepted::NameLost) => {
                context.policy.report(&ServeError::EndpointLost { path: path.to_owned() });
            }
            Ok(Accepted::Connection(stream)) => {
                errors.forget();
                if let Err(error) = serve(context, sync::shared(stream)) {
                    context.policy.report(&error);
                }
            }
            Err(error) => {
                let (error, after) = errors.judge(error)?;
                context.policy.report(&ServeError::Accept(error));
                if after == AfterError::Pause {
                    let open = context.table().len();
                    context.wait_closed(Instant::now().checked_add(ACCEPT_PAUSE), |now_open| now_open < open);
                }
            }
        }
    }
}

/// Serves the connection, once it has a slot. A server that is stopped meanwhile closes it.
pub(super) fn serve(context: &Arc<Context>, stream: LocalStream) -> Result<(), ServeError> {
    let Some(slot) = slot(context) else { return Ok(()) };
    let peer = PeerCredentials::of(stream.user())?;
    let session = ServerSession::new(Arc::clone(&context.policy), peer, slot, Instant::now());
    let open = |id| Arc::new(Conn::new(id, Arc::clone(context), stream, session));
    let conn = Arc::clone(context.table().insert(slot, open));
    if let Some(poller) = &context.poller {
        // Before the poller has it: code of the daemon may hold its state for long, and this thread has others to accept.
        conn.watch_first();
        if let Err(error) = poller.add(&conn.stream, conn.id, false) {
            conn.fail(error);
        }
    } else {
        let (context, reading) = (Arc::clone(context), Arc::clone(&conn));
        if let Err(error) = context.pool.submit(Box::new({
            let context = Arc::clone(&context);
            move || context.read(&reading)
        })) {
            // This thread has others to accept, so it reads once.
            conn.refuse(error, Instant::now() + FIRST_BYTES_TIMEOUT);
        }
    }
    if context.phase() != Phase::Serving {
        // The stop may not have seen this connection.
        context.wake(&conn);
    }
    Ok(())
}

/// Waits for a slot for a connection that was accepted; `None` if the server is stopped before there is one.
fn slot(context: &Context) -> Option<Slot> {
    while context.phase() == Phase::Serving {
        let table = context.table();
        let open = table.len();
        let wait = match table.slot(Instant::now()) {
            SlotOffer::Free(slot) => return Some(slot),
            SlotOffer::After(conn) => {
                let conn = Arc::clone(conn);
                drop(table);
                conn.drain();
                context.wake(&conn);
                REPLACE_TIMEOUT
            }
            SlotOffer::Wait(time) => {
                drop(table);
                time
            }
        };
        context.wait_closed(Instant::now().checked_add(wait), |now_open| now_open < open);
    }
    None
}
