//! The loop that accepts connections.

use super::conn_driver::serve;
use super::context::ServerContext;
use crate::broker::backend_sdk::server::acceptor::{AcceptStep, Acceptor};
use crate::broker::backend_sdk::server::publication::Publication;
use crate::broker::backend_sdk::{ACCEPT_PAUSE, PeerCredentials, Phase, ServerStop};
use crate::sys::background::Background;
use crate::transport::{Accepted, AsyncListener, LocalListener, LocalStream, ServedStream};
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A connection that was accepted and has no slot yet.
pub(super) type Accepting = (PeerCredentials, ServedStream);

/// Accepts until the server is stopped, is idle or has lost its place, and spawns a task for each connection. Accepts the next one
/// once the last one has a slot; returns it if it has none when the server is stopped.
///
/// # Errors
///
/// The listener is broken.
pub(super) async fn accept(
    context: &Arc<ServerContext>,
    listener: &mut Option<AsyncListener>,
    publication: &Publication,
    stop: &ServerStop,
) -> io::Result<Option<Accepting>> {
    let mut acceptor = Acceptor::new(publication);
    while let Some(accepting) = listener {
        let accepted = context.until_ended(poll_fn(|context| accepting.poll_accept(context))).await;
        match acceptor.step(accepted.unwrap_or(Ok(Accepted::Stopped)), &context.policy) {
            AcceptStep::Serve(stream) => {
                let Some((peer, stream)) = prepare(context, stream) else { continue };
                match context.open(peer, Phase::Serving).await {
                    Some(open) => drop(tokio::spawn(serve(open, stream))),
                    None => return Ok(Some((peer, stream))),
                }
            }
            AcceptStep::Accept => {}
            AcceptStep::Pause => context.pause(ACCEPT_PAUSE).await,
            AcceptStep::Renew => renew(context, listener, publication, stop).await?,
            AcceptStep::End(result) => return result.map(|()| None),
        }
    }
    Ok(None)
}

/// Makes the files of a service again, on another thread, and serves the connections that waited.
async fn renew(
    context: &Arc<ServerContext>,
    listener: &mut Option<AsyncListener>,
    publication: &Publication,
    stop: &ServerStop,
) -> io::Result<()> {
    let taken = Arc::new(Mutex::new(listener.take().and_then(AsyncListener::into_inner)));
    let renewed = Background::spawn({
        let (context, taken) = (Arc::clone(context), Arc::clone(&taken));
        let (publication, stop) = (publication.clone(), stop.clone());
        move || publication.renew(&taken, &context.policy, &stop)
    });
    let waiting = match renewed {
        Ok(renewed) => renewed.await,
        Err(error) => {
            publication.not_renewed(error, &context.policy, stop);
            Vec::new()
        }
    };
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    *listener = taken.map(AsyncListener::new).transpose()?;
    for (peer, stream) in waiting.into_iter().filter_map(|stream| prepare(context, stream)) {
        let open = context.open(peer, Phase::Draining).await;
        open.map(|open| tokio::spawn(serve(open, stream)));
    }
    Ok(())
}

/// Serves `first`, and the connections that waited when the listener was closed.
pub(super) async fn serve_waiting(
    context: &Arc<ServerContext>,
    first: Option<Accepting>,
    listener: Option<&LocalListener>,
    publication: &Publication,
) {
    let (mut acceptor, mut next) = (Acceptor::new(publication), first);
    loop {
        if let Some((peer, stream)) = next.take()
            && let Some(open) = context.open(peer, Phase::Draining).await
        {
            tokio::spawn(serve(open, stream));
        }
        let waiting = listener.map_or(Ok(None), LocalListener::accept_waiting);
        match acceptor.step(waiting.map(Accepted::waiting), &context.policy) {
            AcceptStep::Serve(stream) => next = prepare(context, stream),
            AcceptStep::Pause => context.pause(ACCEPT_PAUSE).await,
            AcceptStep::Accept | AcceptStep::Renew => {}
            AcceptStep::End(_) => return,
        }
    }
}

fn prepare(context: &ServerContext, stream: LocalStream) -> Option<Accepting> {
    let peer = PeerCredentials::of(stream.user());
    let prepared = peer.and_then(|peer| Ok((peer, ServedStream::new(stream)?)));
    prepared.map_err(|error| context.policy.report(&error.into())).ok()
}
