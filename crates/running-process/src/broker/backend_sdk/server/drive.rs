//! The threads: one accepts, one drives each connection.

use super::super::connection::{Connection, ConnectionEvent, Request};
use super::super::mux::LegacyClassification;
use super::shared::Shared;
use super::{LegacyConnection, ServerTrouble};
use crate::transport::{LocalListener, LocalStream};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much is read from a connection at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// Output is written once it is this large, in bytes, or nothing more can be served without reading.
const WRITE_BYTES: usize = 64 * 1024;

/// How long accepting pauses, unless a connection ends, when the process is out of descriptors or threads.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the server is stopped.
pub(super) fn accept(shared: &Arc<Shared>, listener: &LocalListener) -> io::Result<()> {
    let mut next_id = 0_u64;
    loop {
        match listener.accept(shared.stop.signal()) {
            Ok(None) => return Ok(()),
            Ok(Some(stream)) => {
                start(shared, next_id, stream);
                next_id += 1;
            }
            Err(error) if is_exhausted(&error) => {
                (shared.observer)(&ServerTrouble::Accept(error));
                let open = shared.stop.open_connections();
                shared.stop.wait_for(EXHAUSTED_PAUSE, |now_open| now_open < open);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Gives the connection a thread, unless there are too many.
fn start(shared: &Arc<Shared>, id: u64, stream: LocalStream) {
    let max_connections = shared.config.max_connections;
    if shared.stop.open_connections() >= max_connections {
        return (shared.observer)(&ServerTrouble::TooManyConnections { max_connections });
    }
    let stream = Arc::new(stream);
    let place = shared.stop.register(id, &stream);
    let thread = std::thread::Builder::new().name(format!("connection-{id}"));
    let on_thread = Arc::clone(shared);
    let started = thread.spawn(move || {
        let _place = place;
        let shared = on_thread;
        if let Err(trouble) = drive(&shared, stream) {
            (shared.observer)(&trouble);
        }
    });
    if let Err(error) = started {
        (shared.observer)(&ServerTrouble::Accept(error));
    }
}

/// Drives one connection from its first byte to its last.
fn drive(shared: &Shared, stream: Arc<LocalStream>) -> Result<(), ServerTrouble> {
    let mux = Arc::clone(&shared.mux);
    let mut connection = Connection::new(mux, shared.config.connection.clone(), Instant::now());
    let spoken = catch_panic(|| converse(shared, &stream, &mut connection)).inspect_err(|trouble| {
        // What was answered before is the peer's, whatever it or a handler did afterwards.
        if !matches!(trouble, ServerTrouble::Stream(_)) {
            let _peer_gone = flush(shared, &stream, &mut connection);
        }
    })?;
    drop(connection);
    let Some(buffered) = spoken else { return Ok(()) };
    let handler = shared.legacy.as_ref().ok_or(ServerTrouble::LegacyNotServed)?;
    catch_panic(|| {
        handler(LegacyConnection::new(buffered, stream));
        Ok(())
    })
}

/// A panic of the daemon's own code ends the connection as an error does.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, ServerTrouble>) -> Result<T, ServerTrouble> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(ServerTrouble::HandlerPanicked))
}

/// Moves bytes between the socket and the state machine until either ends. If the connection is to be handed over,
/// gives the bytes that were received for the legacy wire.
fn converse<F>(
    shared: &Shared,
    stream: &LocalStream,
    connection: &mut Connection<F>,
) -> Result<Option<Vec<u8>>, ServerTrouble>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    let mut bytes = vec![0; READ_BYTES];
    loop {
        while let Some(event) = connection.next_event()? {
            match event {
                ConnectionEvent::Request(request) => serve(shared, request)?,
                ConnectionEvent::Legacy(buffered) => {
                    flush(shared, stream, connection)?;
                    return Ok(Some(buffered));
                }
                ConnectionEvent::Closed => break,
                ConnectionEvent::ProbeAnswered
                | ConnectionEvent::Response(_)
                | ConnectionEvent::Event(_)
                | ConnectionEvent::Cancel(_)
                | ConnectionEvent::UnknownKind(_) => {}
            }
            if connection.output().len() >= WRITE_BYTES {
                flush(shared, stream, connection)?;
            }
        }
        flush(shared, stream, connection)?;
        if connection.is_over() {
            return Ok(None);
        }
        match stream.read_before(&mut bytes, connection.deadline()) {
            Ok(0) => connection.receive_eof(),
            Ok(length) => connection.receive(&bytes[..length], Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                connection.handle_timeout(Instant::now());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn serve(shared: &Shared, mut request: Request<'_>) -> Result<(), ServerTrouble> {
    let payload_protocol = request.frame.payload_protocol;
    let failed = |source| ServerTrouble::Handler { payload_protocol, source };
    // The mux lets only served protocols through, and these are the ones with a handler.
    let Some(handler) = shared.handlers.get(&payload_protocol) else { return Ok(()) };
    let payload = handler(&request).map_err(failed)?;
    request.respond(&payload).map_err(|error| failed(error.into()))
}

fn flush<F>(shared: &Shared, stream: &LocalStream, connection: &mut Connection<F>) -> io::Result<()>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    if !connection.output().is_empty() {
        let deadline = Instant::now().checked_add(shared.config.write);
        stream.write_all_before(connection.output(), deadline)?;
        connection.output_written(connection.output().len(), Instant::now());
    }
    Ok(())
}

/// Whether accepting may work again once something else ends.
fn is_exhausted(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
        )
    }
    #[cfg(not(unix))]
    {
        error.kind() == io::ErrorKind::OutOfMemory
    }
}
