//! The cost of connections without work. The server is a process of its own, which the system measures.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    ChildProcess, PATIENCE, SHOUT, TempEndpoint, alone, end_with_parent, eventually, process_memory, process_status,
    read_frames, request, soon, test_command, test_name, write,
};
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::{LocalStream, ServerConfig};
use running_process::broker::protocol::Endpoint;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

const PATH: &str = "TEST_IDLE_PATH";

/// Protocol whose inline handler answers with the payload.
const INLINE: u32 = 0xF00F;

/// Number of idle connections, if the driver and the system are made for as many.
const CONNECTIONS: usize = 10_000;
/// Descriptors of a process beside its connections.
const OTHER_DESCRIPTORS: usize = 200;
/// Memory of the server for each idle connection, in bytes.
const BYTES_PER_CONNECTION: usize = 4096;
/// Threads of the server may come and go, but not one for each connection.
const OTHER_THREADS: usize = 8;

/// Time without work in which no thread of the server runs.
const QUIET: Duration = Duration::from_secs(2);

/// Raises the limit of descriptors as far as the system allows, and returns it.
fn raise_descriptor_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap())
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn daemon() {
    let Ok(path) = std::env::var(PATH) else { return };
    end_with_parent();
    raise_descriptor_limit();
    let mut config = ServerConfig::default();
    config.max_connections = 2 * CONNECTIONS;
    TestServer::bind(Endpoint::unix_socket("test", path).unwrap())
        .unwrap()
        .config(config)
        .serve_inline(INLINE, |frame| Ok(frame.payload().to_vec()))
        .serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
        .run()
        .unwrap();
}

struct Server {
    temp: TempEndpoint,
    process: ChildProcess,
}

impl Server {
    fn start() -> Self {
        let temp = TempEndpoint::new();
        let mut command = test_command(test_name!("daemon"));
        command.env(PATH, &temp.endpoint.path).stdin(Stdio::piped()).stdout(Stdio::null());
        let process = ChildProcess::spawn(&mut command);
        // An answer to a probe shows that the server has read its executable.
        eventually(|| probe_endpoint(&temp.endpoint, soon()).ok());
        Self { temp, process }
    }

    /// Opens connections, all of which are busy for a moment.
    fn connect(&self, count: usize) -> Vec<LocalStream> {
        let mut connections = Vec::with_capacity(count);
        while connections.len() < count {
            let connect = |_| eventually(|| LocalStream::connect(&self.temp.endpoint.path).ok());
            let more: Vec<_> = (0..100.min(count - connections.len())).map(connect).collect();
            ask(&more);
            connections.extend(more);
        }
        connections
    }

    fn threads(&self) -> usize {
        process_status(self.process.id(), "Threads").parse().unwrap()
    }

    /// Returns the id, the switches and the time on a processor of each thread. Each changes if a thread runs at all.
    fn activity(&self) -> Vec<(String, String)> {
        let tasks = format!("/proc/{}/task", self.process.id());
        let threads = std::fs::read_dir(&tasks).unwrap().map(|entry| entry.unwrap().file_name());
        let activity = threads.map(|thread| {
            let thread = thread.into_string().unwrap();
            // A thread may end meanwhile.
            let read = |name| std::fs::read_to_string(format!("{tasks}/{thread}/{name}")).unwrap_or_default();
            let status = read("status");
            let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
            let ran = switches.chain([&*read("schedstat")]).collect::<Vec<_>>().join(" ");
            (thread, ran)
        });
        let mut activity: Vec<_> = activity.collect();
        activity.sort();
        activity
    }

    /// Waits until no thread of the server has run for [`QUIET`].
    fn assert_falls_quiet(&self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut before = self.activity();
        loop {
            // The absence of any activity cannot be waited for.
            thread::sleep(QUIET);
            let now = self.activity();
            if now == before {
                return;
            }
            assert!(Instant::now() < deadline, "it runs without work:\n{before:?}\n{now:?}");
            before = now;
        }
    }
}

/// Asks for inline and concurrent answers on all connections at once, and reads them.
fn ask(connections: &[LocalStream]) {
    let requests = [INLINE, SHOUT, INLINE, SHOUT].map(|protocol| request(protocol, protocol.into(), &[7; 64])).concat();
    for connection in connections {
        write(connection, &requests);
    }
    for connection in connections {
        read_frames(connection, 4);
    }
}

#[test]
fn ten_thousand_idle_connections_cost_no_threads_and_little_memory() {
    let _alone = alone();
    let allowed = raise_descriptor_limit().saturating_sub(OTHER_DESCRIPTORS);
    let count = TestServer::MAX_CONNECTIONS.min(allowed);
    if count < CONNECTIONS {
        println!("{count} connections instead of {CONNECTIONS}: the driver or the system is not made for more");
    }
    let server = Server::start();
    // The memory that all connections share.
    let first = server.connect(100);
    server.assert_falls_quiet();
    let (threads, memory) = (server.threads(), process_memory(server.process.id(), "VmRSS"));
    let connections = server.connect(count - first.len());
    server.assert_falls_quiet();
    let memory_now = process_memory(server.process.id(), "VmRSS");
    let bytes = memory_now.saturating_sub(memory) / connections.len();
    println!("{bytes} bytes for each connection, {threads} threads before and {} now", server.threads());
    assert!(bytes <= BYTES_PER_CONNECTION, "{bytes} bytes for each connection");
    // Those that a busy machine made necessary end after a while.
    eventually(|| (server.threads() <= threads + OTHER_THREADS).then_some(()));
    // They are still served.
    ask(&connections[connections.len() - 500..]);
}

#[test]
fn a_server_without_work_makes_no_system_call() {
    let server = Server::start();
    let connections = server.connect(64);
    for _ in 0..20 {
        ask(&connections);
        ask(&connections[..1]);
    }
    server.assert_falls_quiet();
    ask(&connections);
}
