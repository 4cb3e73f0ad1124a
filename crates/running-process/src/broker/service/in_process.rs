//! The daemon's handlers in the client's own process.

use super::definition::Service;
use crate::broker::backend_sdk::{
    FrameClient, FrameClientError, LocalStream, RunningServer, Server, ServerError,
};
use crate::broker::protocol::Endpoint;
use std::io;
use std::sync::Arc;

/// A server in this process, without a daemon: for a tool that finds out that starting one costs more than it gains.
///
/// It has no socket and no identity file, and it ends when this is dropped.
#[derive(Debug)]
pub struct InProcess(RunningServer);

impl Service {
    /// Serves in this process. `configure` gives the server its handlers, the same as the daemon's.
    ///
    /// # Errors
    ///
    /// The process has no more threads or descriptors.
    pub fn in_process(&self, configure: impl FnOnce(Server) -> Server) -> Result<InProcess, ServerError> {
        let endpoint =
            Endpoint { namespace_id: self.name.clone(), path: format!("{} in this process", self.name) };
        configure(Server::without_listener(endpoint)).start().map(InProcess)
    }
}

impl InProcess {
    /// Returns a client of the server, on a connection of its own.
    ///
    /// # Errors
    ///
    /// The process has no more descriptors.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows the error is [`io::ErrorKind::Unsupported`]: a connection there needs the name of a pipe.
    pub fn client(&self) -> Result<FrameClient, FrameClientError> {
        let failed = |error| FrameClientError::Stream(Arc::new(error));
        let (client, server) = pair().map_err(failed)?;
        self.0.serve_connection(server).map_err(|error| failed(io::Error::other(error)))?;
        Ok(FrameClient::from_stream(client))
    }
}

#[cfg(unix)]
fn pair() -> io::Result<(LocalStream, LocalStream)> {
    let (client, server) = std::os::unix::net::UnixStream::pair()?;
    Ok((client.into(), server.into()))
}

#[cfg(not(unix))]
fn pair() -> io::Result<(LocalStream, LocalStream)> {
    Err(io::ErrorKind::Unsupported.into())
}
