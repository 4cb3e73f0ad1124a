//! The handle on tokio: the same steps, errors and deadlines, and no call that blocks.

use super::{BackendHandle, BackendHandleError, DEFAULT_PROBE_TIMEOUT, KILL_TIMEOUT, check_endpoint};
use crate::broker::backend_handle::DaemonProcess;
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::backend_lifecycle::verify::{Policy, verify_again_async, verify_connection_async};
use crate::broker::backend_sdk::{AsyncFrameClient, FrameClientError, LocalStream};
use crate::broker::protocol::Endpoint;
use crate::broker::runtime_clock::{before, now};
use std::time::{Duration, Instant};

/// With the feature `tokio`. All of these panic outside a tokio runtime that drives I/O and timers.
impl BackendHandle {
    /// Verifies as [`probe_with_service`](Self::probe_with_service) does, on tokio.
    ///
    /// An executable whose digests are not remembered is read on a thread of its own, at most until the deadline.
    /// Nothing else leaves the task. The handle is the same as that of the blocking constructors.
    ///
    /// # Errors
    ///
    /// As [`probe_with_service`](Self::probe_with_service).
    pub async fn probe_with_service_async(
        service_name: impl Into<String>,
        service_version: impl Into<String>,
        endpoint: &Endpoint,
        expected: &DaemonProcess,
    ) -> Result<Self, BackendHandleError> {
        let deadline = now() + DEFAULT_PROBE_TIMEOUT;
        Self::probe_deadline_async(service_name, service_version, endpoint, expected, deadline).await
    }

    /// Verifies as [`probe_deadline`](Self::probe_deadline) does, on tokio.
    ///
    /// # Errors
    ///
    /// As [`probe_deadline`](Self::probe_deadline).
    pub async fn probe_deadline_async(
        service_name: impl Into<String>,
        service_version: impl Into<String>,
        endpoint: &Endpoint,
        expected: &DaemonProcess,
        deadline: Instant,
    ) -> Result<Self, BackendHandleError> {
        check_endpoint(endpoint, expected)?;
        let (service_name, service_version) = (service_name.into(), service_version.into());
        let handle = Self::verify_async(expected, Policy::default(), deadline).await?;
        Ok(handle.labelled(service_name, service_version))
    }

    /// Verifies as [`verify`](Self::verify) does, on tokio.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub async fn verify_async(
        expected: &DaemonProcess,
        policy: Policy,
        deadline: Instant,
    ) -> Result<Self, ProbeError> {
        let verified = verify_connection_async(expected, &policy, deadline).await;
        Ok(Self::of(verified.map_err(|unverified| unverified.error)?, expected, policy))
    }

    /// Verifies as [`probe_with_service_async`](Self::probe_with_service_async) does, without labels and without the
    /// reason.
    pub async fn probe_async(endpoint: &Endpoint, expected: &DaemonProcess) -> Option<Self> {
        Self::probe_with_service_async("", "", endpoint, expected).await.ok()
    }

    /// Connects as [`connect`](Self::connect) does, on tokio. [`AsyncFrameClient::from_stream`] takes the connection.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_async(&self) -> Result<LocalStream, BackendHandleError> {
        self.connect_deadline_async(now() + DEFAULT_PROBE_TIMEOUT).await
    }

    /// Connects as [`connect_deadline`](Self::connect_deadline) does, on tokio.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_deadline_async(&self, deadline: Instant) -> Result<LocalStream, BackendHandleError> {
        Ok(verify_again_async(&self.daemon_process, &self.process, self.image, &self.policy, deadline)
            .await?)
    }

    /// Returns an asynchronous client on the connection that was verified. The handle may come from any constructor.
    ///
    /// # Errors
    ///
    /// [`FrameClientError::Stream`]: the system does not hand the connection to the runtime.
    pub fn into_async_client(self) -> Result<AsyncFrameClient, FrameClientError> {
        AsyncFrameClient::from_stream(self.stream)
    }

    /// Shuts down as [`shutdown`](Self::shutdown) does, on tokio. The daemon has been asked to end even if this future
    /// is dropped.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    pub async fn shutdown_async(&self, timeout: Duration) -> Result<(), BackendHandleError> {
        self.terminate()?;
        self.exited(timeout).await
    }

    /// Kills as [`force_kill`](Self::force_kill) does, on tokio. The daemon has been killed even if this future is
    /// dropped.
    ///
    /// # Errors
    ///
    /// As [`force_kill`](Self::force_kill).
    pub async fn force_kill_async(&self) -> Result<(), BackendHandleError> {
        self.kill()?;
        self.exited(KILL_TIMEOUT).await
    }

    async fn exited(&self, timeout: Duration) -> Result<(), BackendHandleError> {
        // A process that has ended wins over a deadline that has passed.
        if self.process.has_exited().map_err(self.process_error("waited for"))? {
            return Ok(());
        }
        let ended = match now().checked_add(timeout) {
            Some(deadline) => before(deadline, self.process.exited()).await,
            None => Some(self.process.exited().await),
        };
        match ended {
            Some(ended) => ended.map_err(self.process_error("waited for")),
            None => Err(self.still_runs(timeout)),
        }
    }
}
