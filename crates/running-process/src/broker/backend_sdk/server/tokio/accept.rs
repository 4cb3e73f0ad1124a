//! The loop that accepts connections.

use super::conn_driver::serve;
use super::context::ServerContext;
use crate::broker::backend_sdk::server::accept_errors::{ACCEPT_PAUSE, AcceptErrors, AfterError};
use crate::broker::backend_sdk::{PeerCredentials, ServeError};
use crate::transport::{Accepted, AsyncListener, ServedStream};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;

/// Accepts until the server is stopped, and spawns a task for each connection. Accepts the next one once the last one has a slot.
///
/// # Errors
///
/// The listener is broken.
pub(super) async fn accept(
    context: &Arc<ServerContext>,
    listener: &mut AsyncListener,
    path: &str,
) -> io::Result<()> {
    let mut errors = AcceptErrors::default();
    while let Some(accepted) = context.until_stopped(poll_fn(|context| listener.poll_accept(context))).await {
        match accepted {
            Ok(Accepted::Connection(stream)) => {
                errors.forget();
                let peer = PeerCredentials::of(stream.user());
                match peer.and_then(|peer| Ok((peer, ServedStream::new(stream)?))) {
                    Ok((peer, stream)) => {
                        let open = context.open(peer).await;
                        open.map(|open| tokio::spawn(serve(open, stream)));
                    }
                    Err(error) => context.policy.report(&error.into()),
                }
            }
            Ok(Accepted::NameLost) => {
                context.policy.report(&ServeError::EndpointLost { path: path.to_owned() });
            }
            Ok(Accepted::Stopped) => {}
            Err(error) => {
                let (error, after) = errors.judge(error)?;
                context.policy.report(&ServeError::Accept(error));
                if after == AfterError::Pause {
                    context.pause(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    Ok(())
}
