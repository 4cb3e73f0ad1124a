#[cfg(feature = "tokio")]
mod asynchronous;

use super::DaemonProcess;
use crate::broker::backend_lifecycle::probe::{DEFAULT_PROBE_TIMEOUT, ProbeError};
use crate::broker::backend_lifecycle::verify::{
    FileId, Policy, Proof, Unverified, Verified, still_runs, verify_again, verify_connection,
};
use crate::broker::backend_sdk::{FrameClient, LocalStream};
use crate::broker::protocol::Endpoint;
use crate::sys::ProcessHandle;
use std::io;
use std::time::{Duration, Instant};

/// Time for which a killed process is waited for. Only a process in uninterruptible
/// sleep takes longer than an instant.
pub(in crate::broker) const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A proven daemon: the connection on which it proved itself, and a reference to its process, which stays with it when
/// the pid is used again.
///
/// It claims: *the process at the other end of the connection is the recorded process, it runs the image that was
/// recorded, it was alive after everything was read, and it is this connection that you now use.* The kernel says so,
/// not the answer. [`proof`](Self::proof) has each step with its evidence, and tells where a platform or an identity
/// could prove less. Root, and code that runs inside the daemon or as the same user with ptrace or `LD_PRELOAD`, are
/// outside the claim.
///
/// ```no_run
/// use running_process::{BackendHandle, read_daemon_identity_file};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let daemon = read_daemon_identity_file("build.json".as_ref()).ok_or("no daemon runs")?;
/// let handle = BackendHandle::probe_with_service("build", "1.2.0", &daemon.ipc_endpoint, &daemon)?;
/// println!("process {} is proven: {}", daemon.pid, handle.proof().level);
/// let response = handle.into_client().request(0xF0BD, b"main.rs".to_vec())?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BackendHandle {
    /// The name that the caller gave to the service.
    pub service_name: String,
    /// The version that the caller gave to the service.
    pub service_version: String,
    /// The identity that was expected and that answered.
    pub daemon_process: DaemonProcess,
    proof: Proof,
    policy: Policy,
    process: ProcessHandle,
    image: Option<FileId>,
    stream: LocalStream,
}

/// The reason why there is no handle, or why the daemon could not be stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendHandleError {
    /// The daemon did not prove itself.
    #[error("daemon is not usable")]
    Probe(#[from] ProbeError),
    /// The operating system refused to signal the process or to wait for it.
    #[error("process {pid} could not be {operation}")]
    Process {
        /// The daemon's pid.
        pid: u32,
        /// The operation that was tried.
        operation: &'static str,
        /// The error of the operating system; [`io::ErrorKind::Unsupported`] where the platform has no such signal.
        source: io::Error,
    },
    /// The process was asked to end and still runs.
    #[error("process {pid} still runs after {waited:?}")]
    ShutdownTimeout {
        /// The daemon's pid.
        pid: u32,
        /// The time for which the process was waited for.
        waited: Duration,
    },
}

impl BackendHandle {
    /// Verifies the daemon `expected` at `endpoint` by the default [`Policy`], for at most [`DEFAULT_PROBE_TIMEOUT`].
    /// `service_name` and `service_version` are the caller's own labels.
    ///
    /// # Errors
    ///
    /// [`BackendHandleError::Probe`] says why the daemon is not usable: gone, not connectable, silent, an impostor, ...
    pub fn probe_with_service(
        service_name: impl Into<String>,
        service_version: impl Into<String>,
        endpoint: &Endpoint,
        expected: &DaemonProcess,
    ) -> Result<Self, BackendHandleError> {
        let deadline = Instant::now() + DEFAULT_PROBE_TIMEOUT;
        Self::probe_deadline(service_name, service_version, endpoint, expected, deadline)
    }

    /// Verifies as [`probe_with_service`](Self::probe_with_service) does, before a deadline of the caller's, which
    /// covers everything.
    ///
    /// # Errors
    ///
    /// As [`probe_with_service`](Self::probe_with_service).
    pub fn probe_deadline(
        service_name: impl Into<String>,
        service_version: impl Into<String>,
        endpoint: &Endpoint,
        expected: &DaemonProcess,
        deadline: Instant,
    ) -> Result<Self, BackendHandleError> {
        check_endpoint(endpoint, expected)?;
        let handle = Self::verify(expected, Policy::default(), deadline)?;
        Ok(handle.labelled(service_name.into(), service_version.into()))
    }

    /// Verifies the daemon `expected` by a policy of the caller's.
    ///
    /// # Errors
    ///
    /// The daemon did not prove itself before `deadline`, or not as much as `policy` asks for.
    pub fn verify(expected: &DaemonProcess, policy: Policy, deadline: Instant) -> Result<Self, ProbeError> {
        Self::verify_with_steps(expected, policy, deadline).map_err(|unverified| unverified.error)
    }

    /// Verifies as [`verify`](Self::verify) does, and tells in the error which steps were taken.
    ///
    /// # Errors
    ///
    /// [`Unverified`], with the reason of [`verify`](Self::verify) and every step.
    pub fn verify_with_steps(
        expected: &DaemonProcess,
        policy: Policy,
        deadline: Instant,
    ) -> Result<Self, Unverified> {
        let verified = verify_connection(expected, &policy, deadline)?;
        Ok(Self::of(verified, expected, policy))
    }

    fn of(verified: Verified, expected: &DaemonProcess, policy: Policy) -> Self {
        let Verified { proof, process, image, stream } = verified;
        Self {
            service_name: String::new(),
            service_version: String::new(),
            daemon_process: expected.clone(),
            proof,
            policy,
            process,
            image,
            stream,
        }
    }

    fn labelled(self, service_name: String, service_version: String) -> Self {
        Self { service_name, service_version, ..self }
    }

    /// Returns the process of the daemon.
    pub(in crate::broker) fn process(&self) -> &ProcessHandle {
        &self.process
    }

    /// Closes the connection, and returns the process of the daemon.
    pub(in crate::broker) fn into_process(self) -> ProcessHandle {
        self.process
    }

    /// Closes the connection, and returns the identity of the daemon.
    pub(in crate::broker) fn into_identity(self) -> DaemonProcess {
        self.daemon_process
    }

    /// Returns the proof, step by step.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Verifies as [`probe_with_service`](Self::probe_with_service) does, without labels and without the reason.
    #[must_use]
    pub fn probe(endpoint: &Endpoint, expected: &DaemonProcess) -> Option<Self> {
        Self::probe_with_service("", "", endpoint, expected).ok()
    }

    /// Returns whether the daemon's process has not exited and, on Linux, still runs the image that was proven; `false`
    /// also if the operating system does not tell.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        still_runs(&self.process, self.image).is_ok() && matches!(self.process.has_exited(), Ok(false))
    }

    /// Returns the bytes of memory that the daemon's process has resident: its pages in RAM, those that it shares with
    /// other processes included.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux counts in batches for each processor, so the number is off by some hundred KiB. On Windows it is the working
    /// set.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if the process has exited, and only then; [`io::ErrorKind::PermissionDenied`] if
    /// this user may not know; [`io::ErrorKind::Unsupported`] where the system cannot tell.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        self.process.resident_bytes()
    }

    /// Returns another connection to the daemon, verified as well. If the kernel names the listener by a handle, that
    /// is one system call and the daemon is not asked. At most a probe was sent on the connection, so either wire of
    /// the daemon may follow. This takes at most [`DEFAULT_PROBE_TIMEOUT`].
    ///
    /// The process that listens need not be the one that accepts: a process to which the daemon left its listening
    /// socket may answer there. A caller that cannot accept that calls [`verify`](Self::verify) again, which also
    /// judges the writer of the answer. On Linux the process must still run the image that was proven.
    ///
    /// # Errors
    ///
    /// There is no connection, or it does not lead to the daemon of this handle any more.
    pub fn connect(&self) -> Result<LocalStream, BackendHandleError> {
        self.connect_deadline(Instant::now() + DEFAULT_PROBE_TIMEOUT)
    }

    /// Connects as [`connect`](Self::connect) does, before a deadline of the caller's.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_deadline(&self, deadline: Instant) -> Result<LocalStream, BackendHandleError> {
        Ok(verify_again(&self.daemon_process, &self.process, self.image, &self.policy, deadline)?)
    }

    /// Returns the connection that was verified.
    #[must_use]
    pub fn into_stream(self) -> LocalStream {
        self.stream
    }

    /// Returns a client on the connection that was verified.
    #[must_use]
    pub fn into_client(self) -> FrameClient {
        FrameClient::from_stream(self.stream)
    }

    /// Returns a client on the connection that was verified, which the handle keeps. It must have ended before the next one begins,
    /// because both would read each other's responses.
    ///
    /// # Errors
    ///
    /// This process has no descriptor left.
    pub fn client(&self) -> io::Result<FrameClient> {
        Ok(FrameClient::from_stream(self.stream.try_clone()?))
    }

    /// Asks the daemon's process to end (SIGTERM) and waits for it.
    ///
    /// The daemon decides how it ends. One that called `Server::stop_on_signals`, or handles SIGTERM by itself, answers
    /// what it has received and removes its socket and identity file; give it at least its drain timeout. Any other
    /// daemon ends at once.
    ///
    /// # Errors
    ///
    /// [`BackendHandleError::ShutdownTimeout`] if it still runs after `timeout`.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows has no such signal for a process without a console: the error is [`io::ErrorKind::Unsupported`].
    pub fn shutdown(&self, timeout: Duration) -> Result<(), BackendHandleError> {
        self.terminate()?;
        self.wait_exit(timeout)
    }

    /// Kills the daemon's process and waits until it is gone.
    ///
    /// # Errors
    ///
    /// The operating system refuses, or the process does not end although it was killed.
    pub fn force_kill(&self) -> Result<(), BackendHandleError> {
        self.kill()?;
        self.wait_exit(KILL_TIMEOUT)
    }

    fn terminate(&self) -> Result<(), BackendHandleError> {
        self.process.terminate().map_err(self.process_error("asked to end"))
    }

    fn kill(&self) -> Result<(), BackendHandleError> {
        self.process.kill().map_err(self.process_error("killed"))
    }

    fn wait_exit(&self, timeout: Duration) -> Result<(), BackendHandleError> {
        let deadline = Instant::now().checked_add(timeout);
        let ended = self.process.wait_exit(deadline).map_err(self.process_error("waited for"))?;
        if ended { Ok(()) } else { Err(self.still_runs(timeout)) }
    }

    fn still_runs(&self, waited: Duration) -> BackendHandleError {
        BackendHandleError::ShutdownTimeout { pid: self.process.pid(), waited }
    }

    fn process_error(&self, operation: &'static str) -> impl FnOnce(io::Error) -> BackendHandleError {
        let pid = self.process.pid();
        move |source| BackendHandleError::Process { pid, operation, source }
    }
}

fn check_endpoint(asked: &Endpoint, expected: &DaemonProcess) -> Result<(), ProbeError> {
    let recorded = &expected.ipc_endpoint;
    if asked == recorded {
        Ok(())
    } else {
        Err(ProbeError::EndpointMismatch { asked: asked.path.clone(), recorded: recorded.path.clone() })
    }
}
