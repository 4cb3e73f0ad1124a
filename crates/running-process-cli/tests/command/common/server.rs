//! A server in the test's own process.

use super::{WATCHDOG, text};
use running_process::broker::backend_sdk::{Server, ServerError, ServerStop};
use running_process::broker::protocol::Endpoint;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tempfile::TempDir;

/// A server in the test's own process. It is stopped when this is dropped, and must then end without an error.
#[derive(Debug)]
pub struct TestServer {
    directory: TempDir,
    stop: ServerStop,
    server: Option<JoinHandle<Result<(), ServerError>>>,
}

impl TestServer {
    /// Starts a server that `configure` has set up, and waits until clients can find it.
    pub fn start(configure: impl FnOnce(Server) -> Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (ready, is_ready) = mpsc::channel();
        let server = Server::bind(endpoint_in(&directory)).unwrap();
        let server = configure(server)
            .identity_file(directory.path().join("identity.json"))
            .on_ready(move |_| ready.send(()).unwrap());
        let stop = server.stop_handle();
        let server = Some(thread::spawn(move || server.run()));
        is_ready.recv_timeout(WATCHDOG).expect("the server is ready in time");
        Self { directory, stop, server }
    }

    pub fn endpoint(&self) -> Endpoint {
        endpoint_in(&self.directory)
    }

    pub fn identity_file(&self) -> String {
        text(&self.directory.path().join("identity.json")).to_owned()
    }
}

fn endpoint_in(directory: &TempDir) -> Endpoint {
    Endpoint::unix_socket("test", text(&directory.path().join("s"))).unwrap()
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.server.take().unwrap().join();
        assert!(thread::panicking() || ended.unwrap().is_ok());
    }
}
