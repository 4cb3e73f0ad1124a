//! A server as a program that uses `tracing` and `metrics` sees it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[cfg(all(feature = "metrics", feature = "tokio"))]
mod metrics;
#[cfg(all(feature = "tracing", feature = "tokio"))]
mod spans;

#[cfg(all(any(feature = "metrics", feature = "tracing"), feature = "tokio"))]
mod conversation {
    //! Both servers, each with a client that asks a few things and stops it.

    use running_process::broker::backend_sdk::{AsyncServer, LocalStream, Server, ServerStop};
    use running_process::broker::protocol::{Endpoint, Frame, encode_framed, try_decode_framed};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// One conversation at a time: who records it records the whole process.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) struct Protocols {
        pub(crate) inline: u32,
        pub(crate) concurrent: u32,
        pub(crate) failing: u32,
    }

    /// Runs before every answer of a handler.
    pub(crate) type Hook = fn();

    /// Returns the number of frames that the client received.
    pub(crate) fn on_threads(protocols: &Protocols, hook: Hook, requests: Vec<Frame>) -> usize {
        let (_directory, endpoint) = place();
        let server = Server::bind(endpoint.clone())
            .unwrap()
            .serve_inline(protocols.inline, move |request| {
                hook();
                Ok(request.payload().to_vec())
            })
            .serve(protocols.concurrent, move |request| {
                hook();
                Ok(request.payload().to_vec())
            })
            .serve(protocols.failing, |_| Err::<Vec<u8>, _>("it never works".into()));
        let client = client(endpoint, server.stop_handle(), requests);
        server.run().unwrap();
        client.join().unwrap()
    }

    /// Returns the number of frames that the client received.
    pub(crate) fn on_tokio(protocols: &Protocols, hook: Hook, requests: Vec<Frame>) -> usize {
        let (_directory, endpoint) = place();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = AsyncServer::bind(endpoint.clone())
            .unwrap()
            .serve_inline(protocols.inline, move |request| {
                hook();
                Ok(request.payload().to_vec())
            })
            .serve(protocols.concurrent, move |request| async move {
                tokio::task::yield_now().await;
                hook();
                Ok(request.payload().to_vec())
            })
            .serve(protocols.failing, |_| async { Err::<Vec<u8>, _>("it never works".into()) });
        let client = client(endpoint, server.stop_handle(), requests);
        runtime.block_on(server.run()).unwrap();
        client.join().unwrap()
    }

    fn place() -> (tempfile::TempDir, Endpoint) {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap()).unwrap();
        (directory, endpoint)
    }

    /// Sends all requests, reads every answer and stops the server.
    fn client(endpoint: Endpoint, stop: ServerStop, requests: Vec<Frame>) -> thread::JoinHandle<usize> {
        thread::spawn(move || {
            let stream = LocalStream::connect(&endpoint.path).unwrap();
            let deadline = Some(Instant::now() + PATIENCE);
            for request in requests {
                stream.write_all_deadline(&encode_framed(&request).unwrap(), deadline).unwrap();
            }
            stream.shutdown_write().unwrap();
            let mut bytes = [0; 4096];
            let mut received = Vec::new();
            while let length @ 1.. = stream.read_deadline(&mut bytes, deadline).unwrap() {
                received.extend_from_slice(&bytes[..length]);
            }
            stop.stop();
            let (mut rest, mut count) = (&received[..], 0);
            while let Some(frame) = try_decode_framed(rest).unwrap() {
                (rest, count) = (&rest[frame.consumed..], count + 1);
            }
            count
        })
    }
}
