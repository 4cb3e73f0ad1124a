//! A client that outlives its daemons: each new connection is proven, and no request is sent twice.

mod error;
mod reconnect;

pub use error::{NoDaemon, ReconnectError};
pub use reconnect::Reconnect;

use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::verify::verify_connection_async;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::{
    AsyncFrameClient, AsyncResponseStream, RequestOptions, try_read_daemon_identity_file,
};
use crate::broker::protocol::Frame;
use crate::broker::runtime_clock::{before, now};
use crate::sys;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The longest that an attempt may take, whatever is asked for: no clock overflows by it.
const LONGEST_ATTEMPT: Duration = Duration::from_hours(24);

/// A client of whichever daemon the record names: when a connection has ended, the next request makes another one.
/// Clones share everything.
///
/// Nothing is sent on a connection before its daemon is proven, against the record as it is then. One task at a time
/// reconnects, and whoever needs a connection meanwhile waits for its result. A request that a connection took is never
/// sent again: [`ReconnectError::may_have_run`] tells whether the caller may.
#[derive(Clone, Debug)]
pub struct ReconnectingClient(Arc<Shared>);

struct Shared {
    record: Box<dyn Fn() -> io::Result<Option<DaemonProcess>> + Send + Sync>,
    reconnect: Reconnect,
    /// How often reconnecting has been in vain.
    failures: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    client: Option<AsyncFrameClient>,
    /// Why reconnecting was in vain the last time.
    failure: Option<(u32, Arc<NoDaemon>)>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

/// All of these panic outside a tokio runtime that drives I/O and timers. A connection belongs to the runtime of the task that
/// made it.
impl ReconnectingClient {
    /// A client of the daemon whose identity file is `record`. It connects with its first request.
    ///
    /// The file is read on the task, before each attempt: it is small and local, as the cache of digests is.
    #[must_use]
    pub fn new(record: impl Into<PathBuf>, reconnect: Reconnect) -> Self {
        let record = record.into();
        Self::with_identities(move || try_read_daemon_identity_file(&record), reconnect)
    }

    /// [`new`](Self::new) with records from elsewhere: `record` gives the identity that is expected now, or `None` while
    /// no daemon has one. It is called on the task and must not wait.
    #[must_use]
    pub fn with_identities(
        record: impl Fn() -> io::Result<Option<DaemonProcess>> + Send + Sync + 'static,
        reconnect: Reconnect,
    ) -> Self {
        let (record, state) = (Box::new(record), Mutex::default());
        Self(Arc::new(Shared { record, reconnect, failures: AtomicU64::new(0), state }))
    }

    /// Sends a request once, on a connection to a proven daemon, and waits for its response.
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

    /// [`request`](Self::request) with a deadline, which covers the wait for a connection and which the daemon is told.
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

    /// Sends a request whose events are wanted, on a connection to a proven daemon. The deadline covers the wait for a connection.
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
        let client = self.connection_until(options.deadline, 0).await?;
        client
            .request_streaming_with(payload_protocol, payload, options)
            .await
            .map_err(ReconnectError::Request)
    }

    /// [`request_streaming_with`](Self::request_streaming_with) without options.
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

    /// The connection that the next request will use; it is made if there is none. Its
    /// [`events`](AsyncFrameClient::events) end with it.
    ///
    /// # Errors
    ///
    /// [`ReconnectError::NotConnected`].
    pub async fn connection(&self) -> Result<AsyncFrameClient, ReconnectError> {
        let Shared { failures, state, .. } = &*self.0;
        let failures_before = failures.load(Ordering::Acquire);
        let mut state = state.lock().await;
        match &state.client {
            Some(client) if client.is_usable() => return Ok(client.clone()),
            _ => state.client = None,
        }
        let told = |(attempts, source)| ReconnectError::NotConnected { attempts, source };
        if failures.load(Ordering::Acquire) != failures_before
            && let Some(failure) = &state.failure
        {
            // Whoever waited for another one's attempts is told what they showed.
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

    /// [`request`](Self::request) with a deadline, which covers the wait for a connection, trace context, or both.
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
        let (mut payload, mut attempts) = (payload.into(), 0);
        loop {
            let client = self.connection_until(options.deadline, attempts).await?;
            match client.exchange(payload_protocol, payload, Some(options)).await {
                Ok(answer) => return answer.map_err(ReconnectError::Request),
                Err(unsent) => payload = unsent.payload,
            }
            attempts += 1;
            if attempts >= self.0.reconnect.attempts {
                return Err(ReconnectError::NotConnected { attempts, source: Arc::new(NoDaemon::Ended) });
            }
        }
    }

    /// A connection, after a pause if `attempts` have found none that took the request.
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

impl Shared {
    /// Tries until there is a proven daemon, or no use in trying.
    async fn reconnect(&self) -> Result<AsyncFrameClient, (u32, NoDaemon)> {
        let latest = now().checked_add(self.reconnect.within);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let record = (self.record)().map_err(|error| (attempts, NoDaemon::Record(error)))?;
            let reason = match self.attempt(record.as_ref()).await {
                Ok(client) => return Ok(client),
                Err(reason) => reason,
            };
            // A daemon that took over meanwhile has written another record.
            let may_pass = reason.may_pass() || matches!((self.record)(), Ok(other) if other != record);
            if !may_pass || attempts >= self.reconnect.attempts {
                return Err((attempts, reason));
            }
            self.pause(attempts).await;
            if latest.is_some_and(|latest| now() >= latest) {
                return Err((attempts, reason));
            }
        }
    }

    async fn attempt(&self, record: Option<&DaemonProcess>) -> Result<AsyncFrameClient, NoDaemon> {
        let expected = record.ok_or(NoDaemon::NoRecord)?;
        let deadline = now() + self.reconnect.attempt_timeout.min(LONGEST_ATTEMPT);
        let verified = verify_connection_async(expected, &self.reconnect.policy, deadline).await;
        let stream = verified.map_err(|unverified| NoDaemon::Probe(unverified.error))?.stream;
        let client = AsyncFrameClient::from_stream(stream).map_err(NoDaemon::Client)?;
        client.set_encoding_policy(self.reconnect.encodings);
        Ok(client)
    }

    async fn pause(&self, attempt: u32) {
        // Without randomness all of the pause.
        let random = sys::random().map_or(u32::MAX, u32::from_ne_bytes);
        tokio::time::sleep(self.reconnect.pause(attempt, random)).await;
    }
}
