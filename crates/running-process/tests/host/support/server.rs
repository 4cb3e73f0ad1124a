use super::{PATIENCE, REVERSE, SHOUT, eventually, join, soon};
use crate::daemon::Daemon;
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::{ProbeError, ProbedEndpoint, probe_endpoint};
use running_process::broker::backend_sdk::{
    BindError, ConnectError, FrameClient, LocalStream, ServeError, ServerConfig, ServerError, ServerStats,
    ServerStop, read_daemon_identity_file,
};
use running_process::broker::protocol::Endpoint;
use std::error::Error;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

/// An endpoint that no other test uses, and a directory for files. Both are removed when this is dropped.
pub(crate) struct TempEndpoint {
    pub(crate) endpoint: Endpoint,
    pub(crate) directory: tempfile::TempDir,
}

impl TempEndpoint {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        let endpoint = Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap());
        #[cfg(windows)]
        let endpoint =
            Endpoint::windows_pipe("test", directory.path().file_name().unwrap().to_str().unwrap());
        Self { endpoint: endpoint.unwrap(), directory }
    }

    pub(crate) fn identity_file(&self) -> PathBuf {
        self.directory.path().join("identity.json")
    }
}

/// A server on a thread, which is stopped when this is dropped.
pub(crate) struct TestServer<D> {
    pub(crate) temp: TempEndpoint,
    pub(crate) stop: ServerStop,
    pub(crate) stats: ServerStats,
    errors: Receiver<String>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    driver: PhantomData<D>,
}

impl<D: Daemon> TestServer<D> {
    pub(crate) const INLINE_CODE_MAY_BLOCK: bool = D::INLINE_CODE_MAY_BLOCK;
    pub(crate) const RUNS_WHILE_INLINE_CODE_BLOCKS: bool = D::RUNS_WHILE_INLINE_CODE_BLOCKS;
    pub(crate) const MAX_CONNECTIONS: usize = D::MAX_CONNECTIONS;
    pub(crate) const ACCEPTS_ON_A_THREAD: bool = D::ACCEPTS_ON_A_THREAD;
    pub(crate) const CLOSES_ITS_LISTENER: bool = D::CLOSES_ITS_LISTENER;
    pub(crate) const SERVES_QUICK_REQUESTS_ON_THE_READER: bool = D::SERVES_QUICK_REQUESTS_ON_THE_READER;

    /// Starts a server of [`SHOUT`] and [`REVERSE`], with what `configure` adds. It may not serve yet when this returns.
    pub(crate) fn spawn(configure: impl FnOnce(D) -> D) -> Self {
        let temp = TempEndpoint::new();
        let (report, errors) = mpsc::channel();
        let server = D::bind(temp.endpoint.clone())
            .unwrap()
            .identity_file(temp.identity_file())
            .serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
            .serve_quickly(REVERSE, |request| Ok(request.payload().iter().rev().copied().collect()))
            .observe(move |error: &ServeError| {
                // The test may have dropped the receiver.
                let _ = report.send(chain(error));
            });
        let server = configure(server);
        let (stop, stats) = (server.stop_handle(), server.stats());
        let thread = Some(thread::spawn(move || server.run()));
        Self { temp, stop, stats, errors, thread, driver: PhantomData }
    }

    /// Starts a server as [`spawn`](Self::spawn) does. It serves and is identified when this returns.
    pub(crate) fn start(configure: impl FnOnce(D) -> D) -> Self {
        let running = Self::spawn(configure);
        // With a short deadline, a busy machine may need more than one attempt.
        let ProbedEndpoint { identity, .. } =
            eventually(|| match probe_endpoint(&running.temp.endpoint, soon()) {
                Err(ProbeError::Closed | ProbeError::Stream(_)) => None,
                probed => Some(probed.unwrap()),
            });
        assert_eq!(identity.pid, std::process::id());
        running
    }

    /// Binds a server that does not run yet, at an endpoint that may be taken.
    pub(crate) fn bind(endpoint: Endpoint) -> Result<D, BindError> {
        D::bind(endpoint)
    }

    /// Starts a server with changes to the default configuration.
    pub(crate) fn with_config(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        change(&mut config);
        Self::start(|server| server.config(config))
    }

    /// Connects. Where the backlog is short, as on Windows, that may take more than one attempt.
    pub(crate) fn connect(&self) -> LocalStream {
        eventually(|| match LocalStream::connect(&self.temp.endpoint.path) {
            Err(ConnectError::BacklogFull { .. }) => None,
            connected => Some(connected.unwrap()),
        })
    }

    pub(crate) fn client(&self) -> FrameClient {
        let mut client = FrameClient::from_stream(self.connect());
        client.set_timeout(Some(PATIENCE));
        client
    }

    pub(crate) fn daemon(&self) -> DaemonProcess {
        read_daemon_identity_file(&self.temp.identity_file()).unwrap()
    }

    pub(crate) fn handle(&self) -> BackendHandle {
        BackendHandle::probe_with_service("test", "1", &self.temp.endpoint, &self.daemon()).unwrap()
    }

    /// Waits for the next event of the server's observer.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.errors.recv_timeout(PATIENCE).expect("the observer is told")
    }

    /// Reports whether the server's observer was told of anything more.
    pub(crate) fn has_more_errors(&self) -> bool {
        self.errors.try_recv().is_ok()
    }

    /// Waits until so many connections are open.
    #[track_caller]
    pub(crate) fn wait_open(&self, connections: u64) {
        eventually(|| (self.stats.snapshot().connections_open == connections).then_some(()));
    }

    /// Waits until no concurrent handler runs.
    #[track_caller]
    pub(crate) fn wait_no_requests(&self) {
        eventually(|| (self.stats.snapshot().requests_in_flight == 0).then_some(()));
    }

    /// Checks that the server still answers. With a short deadline, a busy machine may need more than one attempt.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        let response = eventually(|| self.client().request(SHOUT, b"still".to_vec()).ok());
        assert_eq!(response.payload, b"STILL");
    }

    /// Waits until the server has ended, and returns the result of `run`.
    pub(crate) fn join(&mut self) -> Result<(), ServerError> {
        join(self.thread.take().unwrap())
    }

    pub(crate) fn stop_and_join(&mut self) -> Result<(), ServerError> {
        self.stop.stop();
        self.join()
    }
}

impl<D> Drop for TestServer<D> {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Returns an error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
