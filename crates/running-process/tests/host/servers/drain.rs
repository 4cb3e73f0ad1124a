//! A stopped server ends when its drain times out, even if code of the daemon does not return.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{Gate, TempEndpoint, join, read_to_end, request, soon, write};
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::{
    Callback, LegacyClassification, ServerConfig, ServerError,
};
use std::time::Duration;

const DRAIN: Duration = Duration::from_millis(50);

fn impatient() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.drain_timeout = DRAIN;
    config
}

/// Stops `server`, waits for its end, and returns the connections and callbacks that outlasted the drain.
#[track_caller]
fn outlasted(mut server: TestServer) -> (usize, Vec<Callback>) {
    let ended = server.stop_and_join();
    let identity_file = server.temp.identity_file();
    assert!(!identity_file.exists());
    // The endpoint is free again, although the code still runs.
    drop(TestServer::bind(server.temp.endpoint.clone()).unwrap());
    match ended {
        Err(ServerError::DrainTimedOut { connections, callbacks, waited: DRAIN }) => (connections, callbacks),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_inline_handler_that_hangs_does_not_outlast_the_drain() {
    if !TestServer::RUNS_WHILE_INLINE_CODE_BLOCKS {
        return println!("skipped: code that blocks holds up the only thread");
    }
    let (gate, keeper) = Gate::new();
    let server = TestServer::start(|server| {
        server.config(impatient()).serve_inline(0xF00F, move |_| {
            gate.enter(b"");
            Ok(Vec::new())
        })
    });
    let connection = server.connect();
    write(&connection, &request(0xF00F, 1, b""));
    keeper.next();
    assert_eq!(outlasted(server), (1, vec![]));
    drop(keeper);
    read_to_end(&connection);
}

#[test]
fn a_rule_and_a_detector_that_hang_do_not_outlast_the_drain() {
    if !TestServer::RUNS_WHILE_INLINE_CODE_BLOCKS {
        return println!("skipped: code that blocks holds up the only thread");
    }
    for rule in [false, true] {
        let (gate, keeper) = Gate::new();
        let server = TestServer::start(|server| {
            let in_rule = gate.clone();
            let detector = move |bytes: &[u8]| {
                if bytes.starts_with(b"!") {
                    gate.enter(b"");
                }
                LegacyClassification::NotLegacy
            };
            let server = server.config(impatient()).legacy(detector, |_| {});
            server.authorize(move |_| {
                in_rule.enter(b"");
                Ok(())
            })
        });
        let connection = server.connect();
        write(&connection, if rule { b"legacy" } else { b"!" });
        keeper.next();
        assert_eq!(outlasted(server), (1, vec![]));
        drop(keeper);
        read_to_end(&connection);
    }
}

#[test]
fn an_observer_that_hangs_does_not_outlast_the_drain() {
    if !TestServer::RUNS_WHILE_INLINE_CODE_BLOCKS {
        return println!("skipped: code that blocks holds up the only thread");
    }
    let (gate, keeper) = Gate::new();
    let server = TestServer::start(|server| server.config(impatient()).observe(move |_| gate.enter(b"")));
    let connection = server.connect();
    // The server has no handler for this wire.
    write(&connection, b"legacy");
    keeper.next();
    assert_eq!(outlasted(server), (1, vec![]));
    drop(keeper);
}

#[cfg(unix)]
#[test]
fn an_observer_that_hangs_while_accepting_does_not_outlast_the_drain() {
    if !TestServer::ACCEPTS_ON_A_THREAD {
        return println!("skipped: the observer would hold up `run` itself");
    }
    let (gate, keeper) = Gate::new();
    let temp = TempEndpoint::new();
    let server = TestServer::bind(temp.endpoint.clone()).unwrap();
    let server = server.config(impatient()).observe(move |_| gate.enter(b""));
    let stop = server.stop_handle();
    let running = std::thread::spawn(move || server.run());
    // An answer shows that the server runs, and so watches its socket.
    probe_endpoint(&temp.endpoint, soon()).unwrap();
    std::fs::remove_file(&temp.endpoint.path).unwrap();
    // The thread that accepts reports that clients do not find the socket any more.
    keeper.next();
    stop.stop();
    match join(running) {
        Err(ServerError::DrainTimedOut { connections: 0, callbacks, waited: DRAIN }) => {
            assert_eq!(callbacks, [Callback::Observe]);
        }
        other => panic!("{other:?}"),
    }
    drop(TestServer::bind(temp.endpoint.clone()).unwrap());
    drop(keeper);
}

#[test]
fn a_hook_that_hangs_does_not_outlast_the_drain() {
    let (gate, keeper) = Gate::new();
    let mut server = TestServer::start(|server| server.config(impatient()).on_ready(move |_| gate.enter(b"")));
    keeper.next();
    server.assert_serves();
    match server.stop_and_join() {
        Err(error @ ServerError::DrainTimedOut { .. }) => {
            assert_eq!(error.to_string(), "still at work 50 ms after the stop: `on_ready`");
        }
        other => panic!("{other:?}"),
    }
    assert!(!server.temp.identity_file().exists());
    drop(keeper);
}

#[test]
fn a_legacy_handler_that_hangs_does_not_outlast_the_drain() {
    let (gate, keeper) = Gate::new();
    let server = TestServer::start(|server| {
        server.config(impatient()).legacy(|_| LegacyClassification::NotLegacy, move |_| gate.enter(b""))
    });
    let connection = server.connect();
    write(&connection, b"legacy");
    keeper.next();
    assert_eq!(outlasted(server), (1, vec![]));
    drop(keeper);
    drop(connection);
}
