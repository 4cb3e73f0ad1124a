//! The handlers of the blocking server, and what they get.

use super::adaptive::LatencyEstimate;
use crate::broker::backend_sdk::server::request::{RequestParts, request_methods};
use crate::broker::backend_sdk::server::rewind::Rewind;
use crate::broker::backend_sdk::server::sync::LocalStream;
use crate::broker::backend_sdk::{CallId, HandlerError, Payload, SendEventError};
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// The handler of a payload protocol.
pub(super) struct BlockingHandler {
    pub(super) serve: Box<dyn Fn(ServerRequest) -> Result<Payload, HandlerError> + Send + Sync>,
    pub(super) latency: LatencyEstimate,
}

/// The handler of the legacy wire.
pub(super) type LegacyHandler = Box<dyn Fn(LegacyConnection) + Send + Sync>;

/// The connection of a handler.
pub(super) trait HandlerConn: fmt::Debug + Send + Sync {
    /// Blocks while the peer leaves too much unread, then queues and writes an event.
    fn send_event(self: Arc<Self>, call: CallId, payload: &[u8]) -> Result<(), SendEventError>;

    /// As [`send_event`](Self::send_event), with the descriptors of `payload`, or the bytes of a file for a client that takes none.
    fn send_event_payload(
        self: Arc<Self>,
        call: CallId,
        payload: Payload,
        accepted_descriptors: usize,
    ) -> Result<(), SendEventError>;

    /// Returns the socket.
    fn stream(&self) -> &LocalStream;

    /// Releases the memory of the bytes that were received before the legacy handler began.
    fn release_legacy(self: Arc<Self>);
}

/// A request, and the connection to send its events on, for a handler on a thread.
///
/// The handler returns the payload of the response, or an error. Of an error the client learns only that the handler failed, and
/// the observer the rest; a [`Refusal`](crate::broker::protocol::Refusal) goes to the client with its text.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::broker::backend_sdk::{FrameClientError, ServerRequest};
/// use running_process::broker::protocol::{Refusal, RefusalReason};
/// use running_process::{Endpoint, FrameClient, HandlerError, Server};
///
/// fn read(mut request: ServerRequest) -> Result<Vec<u8>, HandlerError> {
///     let path = String::from_utf8(request.payload().to_vec())?;
///     if path.is_empty() {
///         return Err(Refusal::new(RefusalReason::HandlerFailed, "name a file").into()); // for the client
///     }
///     request.send_event(format!("reading {path}"))?; // ahead of the response, for a client that wants it
///     Ok(std::fs::read(path)?) // an error of this is for the observer
/// }
///
/// let directory = tempfile::tempdir()?;
/// let socket = directory.path().join("socket").into_os_string().into_string().unwrap();
/// let endpoint = Endpoint::unix_socket("files", socket)?;
/// let observer = |error: &_| eprintln!("{error}");
/// let _running = Server::bind(endpoint.clone())?.serve(0xF00D, read).observe(observer).start()?;
///
/// let mut client = FrameClient::connect(&endpoint)?;
/// let mut told = |path: &str| match client.request(0xF00D, path.to_owned()) {
///     Err(FrameClientError::Refused(refusal)) => refusal.message,
///     other => panic!("{other:?}"),
/// };
/// assert_eq!(told(""), "name a file");
/// assert_eq!(told("/no/such/file"), "");
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ServerRequest {
    parts: RequestParts,
    conn: Arc<dyn HandlerConn>,
    call: CallId,
}

impl ServerRequest {
    request_methods!(parts);

    pub(super) fn new(parts: RequestParts, conn: Arc<dyn HandlerConn>, call: CallId) -> Self {
        Self { parts, conn, call }
    }

    /// Sends an event under the id of this request, ahead of its answer: a part of a long answer, or progress. Blocks
    /// while the client leaves [`ServerConfig::send_high_water`](crate::broker::backend_sdk::ServerConfig::send_high_water) bytes
    /// unread. An event that follows another one closely is written with the next ones, or after about a millisecond.
    ///
    /// # Errors
    ///
    /// Nothing was sent: the payload is too large, or the client does not wait for the answer any more.
    pub fn send_event(&self, payload: impl AsRef<[u8]>) -> Result<(), SendEventError> {
        Arc::clone(&self.conn).send_event(self.call, payload.as_ref())
    }

    /// Sends an event as [`send_event`](Self::send_event) does, with the descriptors of `payload`. A large payload is not copied. If
    /// it is a file and the client takes no descriptors, its bytes are sent.
    ///
    /// # Errors
    ///
    /// As [`send_event`](Self::send_event), and if the client does not take so many descriptors.
    pub fn send_event_payload(&self, payload: impl Into<Payload>) -> Result<(), SendEventError> {
        Arc::clone(&self.conn).send_event_payload(self.call, payload.into(), self.accepted_descriptors())
    }
}

/// A connection of the legacy wire. Reading returns every byte from the first one, as if the mux had never looked at it.
///
/// The connection closes when the handler has returned and the parts of [`into_parts`](Self::into_parts) are dropped. When the
/// server is stopped, reading returns what has been received and then the end of the stream.
///
/// ```
/// use running_process::LegacyConnection;
/// use std::io::{self, BufRead, BufReader, Write};
///
/// /// Answers each line of the old protocol.
/// fn old_protocol(connection: LegacyConnection) -> io::Result<()> {
///     let mut reader = BufReader::new(connection);
///     let mut line = String::new();
///     while reader.read_line(&mut line)? > 0 {
///         reader.get_mut().write_all(line.to_uppercase().as_bytes())?;
///         line.clear();
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct LegacyConnection {
    rewind: Rewind,
    conn: Arc<dyn HandlerConn>,
}

impl LegacyConnection {
    pub(super) fn new(buffered: Vec<u8>, conn: Arc<dyn HandlerConn>) -> Self {
        Self { rewind: Rewind::new(buffered), conn }
    }

    /// Returns the bytes that were received before the wire was known, and have not been read yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        self.rewind.rest()
    }

    /// Returns the bytes that are still [`buffered`](Self::buffered), and the connection behind them.
    ///
    /// # Errors
    ///
    /// The connection cannot be duplicated: the process is out of descriptors.
    pub fn into_parts(self) -> io::Result<(Vec<u8>, LocalStream)> {
        let stream = self.conn.stream().try_clone()?;
        Ok((self.rewind.rest().to_vec(), stream))
    }
}

impl Read for LegacyConnection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rewind.rest().is_empty() {
            return self.conn.stream().read(into);
        }
        let length = self.rewind.read(into);
        if self.rewind.rest().is_empty() {
            Arc::clone(&self.conn).release_legacy();
        }
        Ok(length)
    }
}

impl Write for LegacyConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.conn.stream().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.conn.stream().flush()
    }
}
