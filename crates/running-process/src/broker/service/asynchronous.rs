//! The calls of a service on tokio.

use super::deadline::Deadline;
use super::definition::Service;
use super::find_error::FindError;
use super::replace::coordinator::Replaced;
use super::replace::replacement_step::ReplacementStep;
use super::start::ensure::Started;
use super::start::ensure_error::{EnsureError, ReplaceError};
use super::state::ServiceState;
use super::stop::{StopError, Stopped};
use crate::broker::backend_handle::BackendHandle;
use crate::broker::backend_sdk::{ConnectFailure, ReconnectConfig, ReconnectingClient};
use crate::sys::background::Background;

/// With the feature `tokio`. Each call runs on a thread of its own: it reads files, and may start a process. If its future is dropped, that thread goes on until the deadline, and its result is lost.
impl Service {
    /// Finds the state as [`find`](Self::find) does, on tokio.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn find_async(&self, deadline: impl Into<Deadline>) -> Result<ServiceState, FindError> {
        let (service, deadline) = (self.clone(), deadline.into());
        blocking(move || service.find(deadline)).await
    }

    /// Returns the daemon as [`ensure`](Self::ensure) does, on tokio.
    ///
    /// # Errors
    ///
    /// As [`ensure`](Self::ensure).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn ensure_async(&self, deadline: impl Into<Deadline>) -> Result<BackendHandle, EnsureError> {
        let (service, deadline) = (self.clone(), deadline.into());
        blocking(move || service.ensure(deadline)).await
    }

    /// Starts the daemon as [`start`](Self::start) does, on tokio.
    ///
    /// # Errors
    ///
    /// As [`ensure`](Self::ensure).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start_async(&self, deadline: impl Into<Deadline>) -> Result<Started, EnsureError> {
        let (service, deadline) = (self.clone(), deadline.into());
        blocking(move || service.start(deadline)).await
    }

    /// Stops the daemon as [`stop`](Self::stop) does, on tokio.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn stop_async(&self, deadline: impl Into<Deadline>) -> Result<Stopped, StopError> {
        let (service, deadline) = (self.clone(), deadline.into());
        blocking(move || service.stop(deadline)).await
    }

    /// Replaces the daemon as [`restart`](Self::restart) does, on tokio. Calls `steps` on that thread.
    ///
    /// # Errors
    ///
    /// As [`restart`](Self::restart).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn restart_async(
        &self,
        deadline: impl Into<Deadline>,
        steps: impl FnMut(&ReplacementStep) + Send + 'static,
    ) -> Result<Replaced, ReplaceError> {
        let (service, deadline, mut steps) = (self.clone(), deadline.into(), steps);
        blocking(move || service.restart(deadline, &mut steps)).await
    }
}

impl ReconnectingClient {
    /// Returns a client of the daemon of `service`, which it starts if none runs: whenever its connection has ended, and for
    /// its first request. Within `retry_timeout` of `config`, clients of a daemon that ends find the next one by themselves. The
    /// proof is the service's policy; the other fields of `config` for reconnecting are not used.
    #[must_use]
    pub fn for_service(service: Service, config: ReconnectConfig) -> Self {
        let timeout = config.retry_timeout;
        let connect = move || {
            let service = service.clone();
            Box::pin(async move {
                let daemon = service.ensure_async(Deadline::after(timeout)).await;
                daemon
                    .map(BackendHandle::into_stream)
                    .map_err(|error| ConnectFailure::Service(Box::new(error)))
            }) as _
        };
        Self::with_connector(connect, config)
    }
}

async fn blocking<T, E>(call: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<FindError> + Send + 'static,
{
    Background::spawn(call).map_err(FindError::NoThread)?.await
}
