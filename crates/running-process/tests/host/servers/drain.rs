//! Stopped servers end with their drain, even if code of the daemon does not return.

use super::Running;
use crate::support::{PATIENCE, next, read_to_end, request, write};
use running_process::broker::backend_sdk::{Callback, LegacyClassification, ServerConfig, ServerError};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DRAIN: Duration = Duration::from_millis(50);

fn impatient() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.drain_timeout = DRAIN;
    config
}

/// A gate at which code of the daemon blocks until the test ends, or longer than any wait of the test.
#[derive(Clone)]
struct Gate {
    entered: Sender<()>,
    left: Arc<Mutex<Receiver<()>>>,
}

impl Gate {
    /// Returns the gate, the receiver of its entries, and the sender that opens it when it is dropped.
    fn new() -> (Self, Receiver<()>, Sender<()>) {
        let ((entered, has_entered), (open, left)) = (mpsc::channel(), mpsc::channel());
        (Self { entered, left: Arc::new(Mutex::new(left)) }, has_entered, open)
    }

    fn enter(&self) {
        self.entered.send(()).unwrap();
        let _ = self.left.lock().unwrap().recv_timeout(PATIENCE * 3);
    }
}

/// Stops `server`, waits for its end, and returns the late connections and callbacks.
#[track_caller]
fn late(mut server: Running) -> (usize, Vec<Callback>) {
    let ended = server.stop_and_join();
    let record = server.place.record();
    assert!(!record.exists());
    // The name is free again, although late code still runs.
    drop(Running::bind(server.place.endpoint.clone()).unwrap());
    match ended {
        Err(ServerError::DrainTimedOut { connections, callbacks, waited: DRAIN }) => (connections, callbacks),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_inline_handler_that_hangs_does_not_outlast_the_drain() {
    if !Running::PREEMPTS {
        return println!("skipped: in a runtime of one thread everything hangs with it");
    }
    let (gate, entered, open) = Gate::new();
    let server = Running::start(|server| {
        server.config(impatient()).serve_inline(0xF00F, move |_| {
            gate.enter();
            Ok(Vec::new())
        })
    });
    let connection = server.connect();
    write(&connection, &request(0xF00F, 1, b""));
    next(&entered);
    assert_eq!(late(server), (1, vec![]));
    drop(open);
    read_to_end(&connection);
}

#[test]
fn a_rule_and_a_detector_that_hang_do_not_outlast_the_drain() {
    if !Running::PREEMPTS {
        return println!("skipped: in a runtime of one thread everything hangs with it");
    }
    for rule in [false, true] {
        let (gate, entered, open) = Gate::new();
        let server = Running::start(|server| {
            let in_rule = gate.clone();
            let detector = move |bytes: &[u8]| {
                if bytes.starts_with(b"!") {
                    gate.enter();
                }
                LegacyClassification::NotLegacy
            };
            let server = server.config(impatient()).legacy(detector, |_| {});
            server.authorize(move |_| {
                in_rule.enter();
                Ok(())
            })
        });
        let connection = server.connect();
        write(&connection, if rule { b"legacy" } else { b"!" });
        next(&entered);
        assert_eq!(late(server), (1, vec![]));
        drop(open);
        read_to_end(&connection);
    }
}

#[test]
fn an_observer_that_hangs_does_not_outlast_the_drain() {
    if !Running::PREEMPTS {
        return println!("skipped: in a runtime of one thread everything hangs with it");
    }
    let (gate, entered, open) = Gate::new();
    let server = Running::start(|server| server.config(impatient()).observe(move |_| gate.enter()));
    let connection = server.connect();
    // The server has no handler for this wire.
    write(&connection, b"legacy");
    next(&entered);
    assert_eq!(late(server), (1, vec![]));
    drop(open);
}

#[test]
fn an_observer_that_hangs_where_connections_are_accepted_does_not_outlast_the_drain() {
    if !Running::ACCEPTS_ON_A_THREAD {
        return println!("skipped: it hangs in the task that accepts, which is the one of `run`");
    }
    let (gate, entered, open) = Gate::new();
    let mut config = impatient();
    config.max_connections = 0;
    let place = crate::support::Place::new();
    let server = Running::bind(place.endpoint.clone()).unwrap();
    let server = server.config(config).observe(move |_| gate.enter());
    let stop = server.stop_handle();
    let running = std::thread::spawn(move || server.run());
    let _refused = running_process::broker::backend_sdk::LocalStream::connect(&place.endpoint.path).unwrap();
    next(&entered);
    stop.stop();
    match crate::support::join(running) {
        Err(ServerError::DrainTimedOut { connections: 1, callbacks, waited: DRAIN }) => {
            assert_eq!(callbacks, [Callback::Observe]);
        }
        other => panic!("{other:?}"),
    }
    drop(Running::bind(place.endpoint.clone()).unwrap());
    drop(open);
}

#[test]
fn a_hook_that_hangs_does_not_outlast_the_drain() {
    let (gate, entered, open) = Gate::new();
    let mut server = Running::start(|server| server.config(impatient()).on_ready(move |_| gate.enter()));
    next(&entered);
    server.assert_serves();
    match server.stop_and_join() {
        Err(error @ ServerError::DrainTimedOut { .. }) => {
            assert_eq!(error.to_string(), "still at work 50 ms after the stop: `on_ready`");
        }
        other => panic!("{other:?}"),
    }
    assert!(!server.place.record().exists());
    drop(open);
}

#[test]
fn a_legacy_handler_that_hangs_does_not_outlast_the_drain() {
    let (gate, entered, open) = Gate::new();
    let server = Running::start(|server| {
        server.config(impatient()).legacy(|_| LegacyClassification::NotLegacy, move |_| gate.enter())
    });
    let connection = server.connect();
    write(&connection, b"legacy");
    next(&entered);
    assert_eq!(late(server), (1, vec![]));
    drop(open);
    drop(connection);
}
