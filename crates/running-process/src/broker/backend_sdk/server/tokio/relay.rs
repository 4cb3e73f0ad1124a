//! The legacy wire of a daemon behind this one, to which its connections are relayed.

use super::backend::Backend;
use super::conn::Conn;
use super::legacy::AsyncLegacyConnection;
use super::request::{AsyncConn, AsyncHandler};
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::broker::backend_sdk::Phase;
use crate::broker::backend_sdk::ServeError;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::transport::SpliceRelay;
use crate::transport::{ServedTransport, Upstream};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Time for which a client may be silent before the daemon behind this one is asked whether it speaks first. Clients that probe
/// send their first byte at once.
const SILENCE: Duration = Duration::from_millis(50);

/// Connects to the daemon behind this one if the client is silent for long, and waits until one of both speaks. If the daemon does,
/// the client speaks the legacy wire. Returns the connection to the daemon, if there is one.
pub(super) async fn first_words(backend: Arc<dyn Backend>, conn: Arc<AsyncConn>) -> Option<Upstream> {
    conn.session().take_silent_as_legacy();
    tokio::time::sleep(SILENCE).await;
    if !conn.session().is_silent() {
        return None;
    }
    // If the daemon cannot be reached, the client is told once it speaks.
    let upstream = backend.connect().await.ok()?;
    let mut words = Box::pin(upstream.readable());
    let spoken =
        poll_fn(
            |context| {
                if conn.session().is_silent() { words.as_mut().poll(context) } else { Poll::Ready(Ok(())) }
            },
        );
    spoken.await.ok()?;
    drop(words);
    let mut session = conn.session();
    if session.is_silent() {
        session.end_silence();
    }
    Some(upstream)
}

/// Relays the legacy wire, whose client has sent `start` before, to `upstream` or to a new connection of `backend`.
pub(super) async fn run(
    backend: &dyn Backend,
    conn: &Arc<AsyncConn>,
    stream: impl ServedTransport,
    start: Vec<u8>,
    upstream: Option<Upstream>,
) -> Result<(), ServeError> {
    let connected = match upstream {
        Some(upstream) => Some(Ok(upstream)),
        None => unless_closed(conn, backend.connect()).await,
    };
    let Some(upstream) = connected.transpose()? else { return Ok(()) };
    Ok(relay(conn, stream, start, upstream).await?)
}

/// Returns the output of `future`, or `None` once the connection is to end at once.
async fn unless_closed<F: Future>(conn: &Conn<AsyncHandler>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        conn.driver.register(context.waker());
        match conn.phase() {
            None => Poll::Ready(None),
            Some(_) => future.as_mut().poll(context).map(Some),
        }
    })
    .await
}

#[cfg(any(target_os = "linux", target_os = "android"))]
async fn relay(
    conn: &Arc<AsyncConn>,
    mut stream: impl ServedTransport,
    start: Vec<u8>,
    upstream: Upstream,
) -> io::Result<()> {
    if stream.socket().is_none() {
        return copy(conn, stream, start, upstream).await;
    }
    let mut relay = SpliceRelay::new(upstream, start)?;
    let mut interrupted = false;
    let relayed = poll_fn(|context| {
        if !interrupted && conn.phase().is_none_or(|phase| phase >= Phase::Draining) {
            interrupted = true;
            stream.interrupt_reads();
        }
        match stream.socket() {
            Some(socket) => relay.poll(socket, context),
            None => Poll::Ready(Ok(())),
        }
    });
    unless_closed(conn, relayed).await.unwrap_or(Ok(()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use copy as relay;

/// Relays by copying.
async fn copy(
    conn: &Arc<AsyncConn>,
    stream: impl ServedTransport,
    start: Vec<u8>,
    mut upstream: Upstream,
) -> io::Result<()> {
    let mut client = AsyncLegacyConnection::new(start, stream, Arc::clone(conn));
    let copied = tokio::io::copy_bidirectional(&mut client, &mut upstream);
    unless_closed(conn, copied).await.map_or(Ok(()), |copied| copied.map(drop))
}
