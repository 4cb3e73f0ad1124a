//! Servers that end by themselves, and clients that connect at that moment.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    SHOUT, TempEndpoint, frames, join, read_frames, read_to_end, request, soon, watched, write,
};
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::{ConnectError, LocalStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Longer than a test runs.
const LONG: Duration = Duration::from_hours(1);

#[test]
fn a_server_without_work_ends_and_leaves_nothing() {
    if !TestServer::CLOSES_ITS_LISTENER {
        return;
    }
    let mut server = TestServer::spawn(|server| server.idle_exit(Duration::from_millis(20)));
    server.join().unwrap();
    assert!(!server.temp.identity_file().exists());
    let refused = LocalStream::connect(&server.temp.endpoint.path).unwrap_err();
    assert!(matches!(refused, ConnectError::NotFound { .. }), "{refused}");
    assert!(!server.has_more_errors());
    TestServer::bind(server.temp.endpoint.clone()).unwrap();
}

#[test]
fn the_idle_timeout_is_announced() {
    if TestServer::CLOSES_ITS_LISTENER {
        let server = TestServer::start(|server| server.idle_exit(LONG));
        assert_eq!(server.daemon().idle_timeout_secs, Some(3600));
    }
}

#[test]
fn an_open_connection_is_work() {
    if !TestServer::CLOSES_ITS_LISTENER {
        return;
    }
    // Long enough for a client to connect to a server that was just registered.
    let timeout = Duration::from_millis(200);
    let mut server = TestServer::spawn(|server| server.idle_exit(timeout));
    let connection = server.connect();
    probe_endpoint(&server.temp.endpoint, soon()).unwrap();
    // Only time passes here: the server must not end in it.
    thread::sleep(2 * timeout);
    write(&connection, &request(SHOUT, 1, b"still"));
    assert_eq!(read_frames(&connection, 1)[0].payload, b"STILL");
    drop(connection);
    server.join().unwrap();
}

#[test]
fn a_request_that_waits_in_the_backlog_when_the_server_is_stopped_is_answered() {
    if !TestServer::CLOSES_ITS_LISTENER {
        return;
    }
    let temp = TempEndpoint::new();
    let server = TestServer::bind(temp.endpoint.clone())
        .unwrap()
        .serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()));
    let waiting: Vec<_> = (0..10).map(|_| LocalStream::connect(&temp.endpoint.path).unwrap()).collect();
    for connection in &waiting {
        write(connection, &request(SHOUT, 1, b"early"));
    }
    server.stop_handle().stop();
    watched(move || server.run().unwrap());
    for connection in waiting {
        assert_eq!(frames(&read_to_end(&connection))[0].payload, b"EARLY");
    }
}

/// The outcomes of the requests of a client.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicUsize,
    refused: AtomicUsize,
    /// The request could not be sent: the server had ended the connection.
    unsent: AtomicUsize,
}

/// Connects again and again until `done`, and sends a request on each connection.
fn ask_repeatedly(path: &str, tally: &Tally, done: &AtomicBool, mut seed: u64) {
    while !done.load(Ordering::Relaxed) {
        // Clients that are never away at the same time would keep the server from being idle.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros((seed >> 33) % 15_000));
        let connection = match LocalStream::connect(path) {
            Ok(connection) => connection,
            Err(ConnectError::NotFound { .. } | ConnectError::Refused { .. }) => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        match connection.write_all_deadline(&request(SHOUT, 1, b"now"), Some(soon())) {
            Ok(()) => {
                assert_eq!(read_frames(&connection, 1)[0].payload, b"NOW");
                tally.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
                tally.unsent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Runs servers one after the other, while clients connect. Each is stopped after a while, or ends by itself.
fn while_clients_connect(stops: bool) -> Arc<Tally> {
    let temp = TempEndpoint::new();
    let (tally, done) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..3)
        .map(|seed| {
            let (path, tally, done) = (temp.endpoint.path.clone(), Arc::clone(&tally), Arc::clone(&done));
            thread::spawn(move || ask_repeatedly(&path, &tally, &done, seed))
        })
        .collect();
    let identity = DaemonProcess::current_process(temp.endpoint.clone(), None).unwrap();
    let rounds = std::env::var("IDLE_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let (identity, time) = (identity.clone(), Duration::from_millis(1 + round % 4));
        let server = TestServer::bind(temp.endpoint.clone())
            .unwrap()
            .idle_exit(if stops { LONG } else { time })
            .identify_with(move |_, _| Ok(identity))
            .serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()));
        let stop = server.stop_handle();
        let running = thread::spawn(move || server.run());
        if stops {
            thread::sleep(time);
            stop.stop();
        }
        join(running).unwrap();
    }
    done.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(join);
    println!("{rounds} servers: {tally:?}");
    tally
}

/// Only Linux refuses a client that found the socket just before it was removed.
#[cfg(target_os = "linux")]
#[test]
fn no_client_loses_its_request_to_a_server_that_ends_idle() {
    if !TestServer::CLOSES_ITS_LISTENER {
        return;
    }
    let tally = while_clients_connect(false);
    assert!(tally.answered.load(Ordering::Relaxed) > 0 && tally.refused.load(Ordering::Relaxed) > 0);
    assert_eq!(tally.unsent.load(Ordering::Relaxed), 0, "each connection was served as ever");
}

#[cfg(target_os = "linux")]
#[test]
fn a_request_that_could_be_sent_to_a_server_that_is_stopped_is_answered() {
    if !TestServer::CLOSES_ITS_LISTENER {
        return;
    }
    let tally = while_clients_connect(true);
    assert!(tally.answered.load(Ordering::Relaxed) > 0);
}
