//! The client that reconnects: it verifies each new connection, and sends no request twice.

mod config;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

pub use config::ReconnectConfig;
pub use error::{ConnectFailure, ReconnectError};

use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::verify::verify_connection_async;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::{
    AsyncFrameClient, AsyncResponseStream, LocalStream, RequestOptions, try_read_daemon_identity_file,
};
use crate::broker::protocol::Frame;
use crate::broker::runtime_clock::{before, now};
use crate::sys;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Attempts that find another process than the daemon, before it is told.
const MAX_REFUSALS: u32 = 3;

/// The upper bound of `attempt_timeout`, so that no clock overflows.
const LONGEST_ATTEMPT: Duration = Duration::from_hours(24);

/// A client of the daemon that an identity file names. Once its connection has ended, the next request makes another one.
/// Clones share everything.
///
/// When the daemon says that another process serves the endpoint by now, its connection takes no more requests and ends once
/// those in flight are answered. The next request goes to the successor.
///
/// Nothing is sent on a connection before its daemon is verified, against the identity file as it is then. One task at a time
/// reconnects, and the others wait for its result. A request that a connection took is never sent again:
/// [`ReconnectError::may_have_run`] tells whether the caller may do so.
///
/// ```no_run
/// use running_process::ReconnectingClient;
/// use running_process::broker::backend_sdk::{ReconnectConfig, ReconnectError};
///
/// # async fn example() -> Result<(), ReconnectError> {
/// let client = ReconnectingClient::new("/run/user/1000/build/daemon.json", ReconnectConfig::default());
/// let ask = || client.request(0xF0BD, b"main.rs".to_vec());
/// let response = match ask().await {
///     Err(error) if !error.may_have_run() => ask().await?, // by the next daemon
///     answered => answered?,
/// };
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ReconnectingClient(Arc<ClientInner>);

struct ClientInner {
    source: Source,
    config: ReconnectConfig,
    /// The number of times that reconnecting failed.
    failures: AtomicU64,
    state: Mutex<State>,
}

/// The source of new connections.
enum Source {
    /// The identity that is expected now, with which a daemon is verified.
    Identities(Box<dyn Fn() -> io::Result<Option<DaemonProcess>> + Send + Sync>),
    /// A connection to a daemon that is verified already.
    Connector(Box<dyn Fn() -> Connecting + Send + Sync>),
}

/// A connection in the making.
type Connecting = Pin<Box<dyn Future<Output = Result<LocalStream, ConnectFailure>> + Send>>;

#[derive(Debug, Default)]
struct State {
    client: Option<AsyncFrameClient>,
    /// The last failure of reconnecting, with the number of attempts.
    failure: Option<(u32, Arc<ConnectFailure>)>,
}

impl fmt::Debug for ClientInner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientInner").field("state", &self.state).finish_non_exhaustive()
    }
}

/// All methods that wait panic outside a tokio runtime that drives I/O and timers. A connection belongs to the runtime of the task
/// that made it.
impl ReconnectingClient {
    /// Returns a client of the daemon that `identity_file` names. It connects with its first request.
    ///
    /// The file is read on the task, before each attempt: it is small and local, as the cache of digests is.
    #[must_use]
    pub fn new(identity_file: impl Into<PathBuf>, config: ReconnectConfig) -> Self {
        let path = identity_file.into();
        Self::with_identities(move || try_read_daemon_identity_file(&path), config)
    }

    /// Returns a client whose identities come from elsewhere than a file. `identity` returns the identity that is expected now,
    /// `None` while no daemon has one. It runs on the task and must not wait.
    #[must_use]
    pub fn with_identities(
        identity: impl Fn() -> io::Result<Option<DaemonProcess>> + Send + Sync + 'static,
        config: ReconnectConfig,
    ) -> Self {
        Self::with_source(Source::Identities(Box::new(identity)), config)
    }

    /// Returns a client whose connections `connect` makes, verified. It tries as long as that is of use.
    pub(in crate::broker) fn with_connector(
        connect: impl Fn() -> Connecting + Send + Sync + 'static,
        config: ReconnectConfig,
    ) -> Self {
        Self::with_source(Source::Connector(Box::new(connect)), config)
    }

    fn with_source(source: Source, config: ReconnectConfig) -> Self {
        Self(Arc::new(ClientInner { source, config, failures: AtomicU64::new(0), state: Mutex::default() }))
    }

    /// Sends a request once, on a connection to a verified daemon, and waits for its response.
    ///
    /// # Errors
    ///
    /// [`ReconnectError`] tells whether it was sent.
    pub async fn request(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<Frame, ReconnectError> {
        self.request_with(payload_protocol, payload, &RequestOptions::default()).await
    }

    /// Sends a [`request`](Self::request) with a deadline, which covers the wait for a connection. The daemon is told it.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub async fn request_deadline(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        deadline: Instant,
    ) -> Result<Frame, ReconnectError> {
        let options = RequestOptions::new().with_deadline(deadline);
        self.request_with(payload_protocol, payload, &options).await
    }

    /// Sends a request whose events are wanted, on a connection to a verified daemon. The deadline covers the wait for a
    /// connection.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), for the beginning. An error of the stream is one of its connection, on which the request may
    /// have run.
    pub async fn request_streaming_with(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<AsyncResponseStream, ReconnectError> {
        let mut payload = payload.into();
        loop {
            let client = self.connection_until(options.deadline, 0).await?;
            let deadline = CallDeadline::new(options.deadline, now);
            deadline.check().map_err(ReconnectError::Request)?;
            match client.begin_streaming(payload_protocol, payload, options, deadline).await {
                Ok(stream) => return stream.map_err(ReconnectError::Request),
                Err(unsent) if client.has_moved() => payload = unsent.payload,
                Err(unsent) => return Err(ReconnectError::Request(unsent.into_error())),
            }
        }
    }

    /// Sends a request as [`request_streaming_with`](Self::request_streaming_with) does, without options.
    ///
    /// # Errors
    ///
    /// As [`request_streaming_with`](Self::request_streaming_with).
    pub async fn request_streaming(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<AsyncResponseStream, ReconnectError> {
        self.request_streaming_with(payload_protocol, payload, &RequestOptions::default()).await
    }

    /// Returns the connection that the next request will use, and makes one if there is none. Its
    /// [`events`](AsyncFrameClient::events) end with it.
    ///
    /// # Errors
    ///
    /// [`ReconnectError::NotConnected`].
    pub async fn connection(&self) -> Result<AsyncFrameClient, ReconnectError> {
        let ClientInner { failures, state, .. } = &*self.0;
        let failures_before = failures.load(Ordering::Acquire);
        let mut state = state.lock().await;
        match &state.client {
            Some(client) if client.is_usable() && !client.has_moved() => return Ok(client.clone()),
            _ => state.client = None,
        }
        let told = |(attempts, source)| ReconnectError::NotConnected { attempts, source };
        if failures.load(Ordering::Acquire) != failures_before
            && let Some(failure) = &state.failure
        {
            // This task waited while another one tried, and gets the same failure.
            return Err(told(failure.clone()));
        }
        match self.0.reconnect().await {
            Ok(client) => Ok(state.client.insert(client).clone()),
            Err((attempts, reason)) => {
                let failure = (attempts, Arc::new(reason));
                state.failure = Some(failure.clone());
                failures.fetch_add(1, Ordering::Release);
                Err(told(failure))
            }
        }
    }

    /// Sends a [`request`](Self::request) with a deadline, which covers the wait for a connection, trace context, or both.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub async fn request_with(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<Frame, ReconnectError> {
        self.exchange(payload_protocol, payload.into(), options).await.map(Reply::into_frame)
    }

    /// Sends a request as [`request_with`](Self::request_with) does, and returns the response with its descriptors, as
    /// [`AsyncFrameClient::request_reply`].
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub async fn request_reply(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<Reply, ReconnectError> {
        self.exchange(payload_protocol, payload.into(), &options.of_reply()).await
    }

    async fn exchange(
        &self,
        payload_protocol: u32,
        mut payload: Payload,
        options: &RequestOptions,
    ) -> Result<Reply, ReconnectError> {
        let mut attempts = 0;
        loop {
            let client = self.connection_until(options.deadline, attempts).await?;
            match client.exchange(payload_protocol, payload, Some(options)).await {
                Ok(answer) => return answer.map_err(ReconnectError::Request),
                Err(unsent) => payload = unsent.payload,
            }
            if client.has_moved() {
                // The successor serves already.
                continue;
            }
            attempts += 1;
            if attempts >= self.0.config.max_attempts {
                return Err(ReconnectError::NotConnected {
                    attempts,
                    source: Arc::new(ConnectFailure::Ended),
                });
            }
        }
    }

    /// Returns a connection, after a pause if `attempts` have found none that took the request.
    async fn connection_until(
        &self,
        deadline: Option<Instant>,
        attempts: u32,
    ) -> Result<AsyncFrameClient, ReconnectError> {
        let connect = async {
            if attempts > 0 {
                self.0.pause(attempts).await;
            }
            self.connection().await
        };
        match deadline {
            None => connect.await,
            Some(deadline) => before(deadline, connect).await.unwrap_or(Err(ReconnectError::NotInTime)),
        }
    }
}

impl ClientInner {
    /// Tries until a daemon is verified, or further attempts are useless.
    async fn reconnect(&self) -> Result<AsyncFrameClient, (u32, ConnectFailure)> {
        let identities = match &self.source {
            Source::Identities(identities) => identities,
            Source::Connector(connect) => {
                let connected = connect().await.and_then(|stream| self.client(stream));
                return connected.map_err(|failure| (1, failure));
            }
        };
        let latest = now().checked_add(self.config.retry_timeout);
        let (mut attempts, mut refusals) = (0, 0);
        loop {
            attempts += 1;
            let identity = identities().map_err(|error| (attempts, ConnectFailure::IdentityFile(error)))?;
            let reason = match self.attempt(identity.as_ref()).await {
                Ok(client) => return Ok(client),
                Err(reason) => reason,
            };
            // A daemon that took over in the meantime has written another identity.
            let is_replaced = || matches!(identities(), Ok(other) if other != identity);
            let may_pass = reason.may_pass() || is_replaced() || {
                // While a daemon hands its endpoint over, either of both processes may answer.
                refusals += 1;
                refusals < MAX_REFUSALS && reason.names_another_process()
            };
            if !may_pass || attempts >= self.config.max_attempts {
                return Err((attempts, reason));
            }
            self.pause(attempts).await;
            if latest.is_some_and(|latest| now() >= latest) {
                return Err((attempts, reason));
            }
        }
    }

    async fn attempt(&self, expected: Option<&DaemonProcess>) -> Result<AsyncFrameClient, ConnectFailure> {
        let expected = expected.ok_or(ConnectFailure::NoIdentityFile)?;
        let deadline = now() + self.config.attempt_timeout.min(LONGEST_ATTEMPT);
        let verified = verify_connection_async(expected, &self.config.policy, deadline).await;
        self.client(verified.map_err(|unverified| ConnectFailure::Probe(unverified.error))?.stream)
    }

    fn client(&self, stream: LocalStream) -> Result<AsyncFrameClient, ConnectFailure> {
        let client = AsyncFrameClient::from_stream_until_moved(stream).map_err(ConnectFailure::Client)?;
        client.set_encoding_policy(self.config.encodings);
        Ok(client)
    }

    async fn pause(&self, attempt: u32) {
        // Without randomness all of the pause.
        let random = sys::random().map_or(u32::MAX, u32::from_ne_bytes);
        tokio::time::sleep(self.config.backoff(attempt, random)).await;
    }
}
