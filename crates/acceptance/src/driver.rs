//! The two drivers of one verification, so that every test of it runs over both.

use crate::{TEST_TIMEOUT, soon, watched};
use running_process::broker::backend_handle::{BackendHandle, BackendHandleError, DaemonProcess};
use running_process::broker::backend_lifecycle::probe::{
    ProbeError, ProbedEndpoint, probe_endpoint, probe_endpoint_async,
};
use running_process::broker::backend_lifecycle::verify::{Policy, Proof, Unverified, verify, verify_async};
use running_process::broker::backend_sdk::LocalStream;
use running_process::broker::protocol::{Endpoint, Frame};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// The driver of a verification. Methods are named as those of the handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Driver {
    Blocking,
    Tokio,
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // A thread for blocking work stays once it was started, because tests count threads.
    Builder::new_current_thread().enable_all().thread_keep_alive(TEST_TIMEOUT * 1000).build().unwrap()
});

macro_rules! either {
    ($driver:expr, $blocking:expr, $asynchronous:expr) => {
        match $driver {
            Driver::Blocking => $blocking,
            Driver::Tokio => RUNTIME.block_on($asynchronous),
        }
    };
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "as those of the handle")]
impl Driver {
    /// Returns the name for a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Tokio => "tokio",
        }
    }

    /// Returns the driver with this [name](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Self {
        *[Self::Blocking, Self::Tokio].iter().find(|driver| driver.name() == name).expect("a driver")
    }

    /// Starts the runtime, so that a test can count the costs of a verification alone.
    pub fn prepare(self) {
        if self == Self::Tokio {
            RUNTIME.block_on(async { tokio::task::spawn_blocking(|| ()).await.unwrap() });
        }
    }

    pub fn probe_with_service(
        self,
        name: &str,
        version: &str,
        endpoint: &Endpoint,
        expected: &DaemonProcess,
    ) -> Result<BackendHandle, BackendHandleError> {
        either!(
            self,
            BackendHandle::probe_with_service(name, version, endpoint, expected),
            BackendHandle::probe_with_service_async(name, version, endpoint, expected)
        )
    }

    /// Returns a handle to the daemon `expected`, or the reason why there is none.
    ///
    /// # Panics
    ///
    /// Something other than the probe failed.
    pub fn probe_deadline(
        self,
        expected: &DaemonProcess,
        deadline: Instant,
    ) -> Result<BackendHandle, ProbeError> {
        let endpoint = &expected.ipc_endpoint;
        let probed = either!(
            self,
            BackendHandle::probe_deadline("test", "1", endpoint, expected, deadline),
            BackendHandle::probe_deadline_async("test", "1", endpoint, expected, deadline)
        );
        probed.map_err(|error| match error {
            BackendHandleError::Probe(error) => error,
            other => panic!("{other:?}"),
        })
    }

    #[must_use]
    pub fn probe(self, endpoint: &Endpoint, expected: &DaemonProcess) -> Option<BackendHandle> {
        either!(
            self,
            BackendHandle::probe(endpoint, expected),
            BackendHandle::probe_async(endpoint, expected)
        )
    }

    pub fn probe_endpoint(self, endpoint: &Endpoint) -> Result<ProbedEndpoint, ProbeError> {
        either!(self, probe_endpoint(endpoint, soon()), probe_endpoint_async(endpoint, soon()))
    }

    pub fn verify(
        self,
        expected: &DaemonProcess,
        policy: Policy,
        deadline: Instant,
    ) -> Result<BackendHandle, ProbeError> {
        either!(
            self,
            BackendHandle::verify(expected, policy, deadline),
            BackendHandle::verify_async(expected, policy, deadline)
        )
    }

    /// Verifies without a handle.
    pub fn prove(self, expected: &DaemonProcess, policy: &Policy) -> Result<Proof, Unverified> {
        either!(self, verify(expected, policy, soon()), verify_async(expected, policy, soon()))
    }

    pub fn connect(self, handle: &BackendHandle) -> Result<LocalStream, BackendHandleError> {
        either!(self, handle.connect(), handle.connect_async())
    }

    /// Sends one request on the connection that was proven, and fails if its answer does not come.
    #[must_use]
    pub fn request(self, handle: BackendHandle, payload_protocol: u32, payload: &[u8]) -> Frame {
        let payload = payload.to_vec();
        either!(self, watched(move || handle.into_client().request(payload_protocol, payload)), async {
            let client = handle.into_async_client()?;
            client.request_deadline(payload_protocol, payload, soon()).await
        })
        .unwrap()
    }

    pub fn shutdown(self, handle: &BackendHandle, timeout: Duration) -> Result<(), BackendHandleError> {
        either!(self, handle.shutdown(timeout), handle.shutdown_async(timeout))
    }

    pub fn force_kill(self, handle: &BackendHandle) -> Result<(), BackendHandleError> {
        either!(self, handle.force_kill(), handle.force_kill_async())
    }
}
