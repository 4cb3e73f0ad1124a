//! The end of a server that is stopped: its files, its connections and the requests that it still answers.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    Gate, GateKeeper, PATIENCE, REVERSE, SHOUT, TempEndpoint, eventually, frames, next, read_frames,
    read_to_end, request, watched, write,
};
#[cfg(unix)]
use crate::support::{read, soon};
use running_process::broker::backend_sdk::{
    ConnectError, FrameClient, LegacyClassification, LocalStream, ServerConfig, ServerError, ServerStop,
    read_daemon_identity_file, write_daemon_identity_file,
};
use running_process::broker::protocol::Refusal;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

#[test]
fn the_identity_file_and_the_endpoint_exist_exactly_while_the_server_runs() {
    let mut server = TestServer::start(|server| server);
    let identity_file = server.temp.identity_file();
    let daemon = read_daemon_identity_file(&identity_file).unwrap();
    assert_eq!(daemon.pid, std::process::id());
    assert_eq!(daemon.ipc_endpoint, server.temp.endpoint);
    assert_eq!(daemon.exe_path, std::env::current_exe().unwrap());
    server.stop_and_join().unwrap();
    assert!(!identity_file.exists());
    let refused = LocalStream::connect(&server.temp.endpoint.path).unwrap_err();
    assert!(matches!(refused, ConnectError::NotFound { .. }), "{refused}");
}

#[test]
fn the_identity_file_of_another_daemon_is_left_alone() {
    let mut server = TestServer::start(|server| server);
    let identity_file = server.temp.identity_file();
    let mut other = server.daemon();
    other.started_at_unix_ms += 1;
    write_daemon_identity_file(&identity_file, &other).unwrap();
    server.stop_and_join().unwrap();
    assert_eq!(read_daemon_identity_file(&identity_file), Some(other));
}

#[test]
fn an_identity_file_that_holds_something_else_is_left_alone() {
    let mut server = TestServer::start(|server| server);
    let identity_file = server.temp.identity_file();
    std::fs::write(&identity_file, "other notes").unwrap();
    server.stop_and_join().unwrap();
    assert_eq!(std::fs::read_to_string(&identity_file).unwrap(), "other notes");
}

#[test]
fn an_identity_file_that_was_removed_does_not_matter() {
    let mut server = TestServer::start(|server| server);
    std::fs::remove_file(server.temp.identity_file()).unwrap();
    server.stop_and_join().unwrap();
}

#[test]
fn stopping_twice_and_from_several_threads_is_stopping_once() {
    let mut server = TestServer::start(|server| server);
    let stop = server.stop.clone();
    assert!(!stop.is_stopped());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| stop.stop());
        }
    });
    assert!(stop.is_stopped());
    server.join().unwrap();
    stop.stop();
}

#[test]
fn a_handler_can_stop_its_own_server_and_its_answer_arrives() {
    let stop = Arc::new(Mutex::new(None::<ServerStop>));
    let in_handler = Arc::clone(&stop);
    let mut server = TestServer::start(move |server| {
        *stop.lock().unwrap() = Some(server.stop_handle());
        server.serve(0xF00F, move |_| {
            in_handler.lock().unwrap().as_ref().unwrap().stop();
            Ok(b"bye".to_vec())
        })
    });
    assert_eq!(server.client().request(0xF00F, Vec::new()).unwrap().payload, b"bye");
    server.join().unwrap();
}

#[test]
fn idle_connections_end_when_the_server_stops() {
    let mut server = TestServer::start(|server| server);
    let mut used = server.client();
    used.request(SHOUT, b"x".to_vec()).unwrap();
    let handle = server.handle();
    let silent = server.connect();
    server.stop_and_join().unwrap();
    assert_eq!(read_to_end(&silent), b"");
    assert_eq!(read_to_end(&handle.into_stream()), b"");
    assert!(used.request(SHOUT, b"x".to_vec()).is_err());
    assert!(!server.has_more_errors());
}

/// Starts a server whose handler of protocol 0xF00F answers once the keeper lets it pass.
fn gated(config: ServerConfig) -> (TestServer, GateKeeper) {
    let (gate, keeper) = Gate::new();
    let server = TestServer::start(move |server| {
        server.config(config).serve(0xF00F, move |_| {
            gate.enter(b"");
            Ok(b"done".to_vec())
        })
    });
    (server, keeper)
}

#[test]
fn a_stopped_server_refuses_newcomers_and_answers_what_it_has_received() {
    let (mut server, keeper) = gated(ServerConfig::default());
    let connection = server.connect();
    write(&connection, &[request(0xF00F, 1, b""), request(REVERSE, 2, b"abc")].concat());
    keeper.next();
    server.stop.stop();
    let endpoint = server.temp.endpoint.clone();
    let refused = eventually(|| LocalStream::connect(&endpoint.path).err());
    assert!(match refused {
        ConnectError::NotFound { .. } | ConnectError::Refused { .. } => true,
        // The name of a Windows pipe exists until its last connection ends.
        ConnectError::BacklogFull { .. } => cfg!(windows),
        _ => false,
    });
    // On Windows the connection may have been refused before the server removes the file.
    eventually(|| (!server.temp.identity_file().exists()).then_some(()));
    keeper.let_pass();
    server.join().unwrap();
    let answers = frames(&read_to_end(&connection));
    let mut answers: Vec<_> = answers.iter().map(|answer| (answer.request_id, &answer.payload[..])).collect();
    answers.sort_unstable();
    assert_eq!(answers, [(1, &b"done"[..]), (2, &b"cba"[..])]);
}

#[test]
fn a_stopped_server_resets_connections_that_outlast_the_drain() {
    let mut config = ServerConfig::default();
    config.drain_timeout = Duration::from_millis(50);
    let (mut server, keeper) = gated(config);
    let connection = server.connect();
    write(&connection, &request(0xF00F, 1, b""));
    keeper.next();
    match server.stop_and_join() {
        Err(ServerError::DrainTimedOut { connections: 1, callbacks, waited }) => {
            assert_eq!((&callbacks[..], waited), (&[][..], Duration::from_millis(50)));
        }
        other => panic!("{other:?}"),
    }
    assert!(!server.temp.identity_file().exists());
    // The client is told, although the handler still works.
    let refusal = Refusal::from_frame(&read_frames(&connection, 1)[0].borrowed()).unwrap();
    assert_eq!(refusal.to_string(), "the handler failed (\"the daemon ended before the answer\")");
    assert!(refusal.may_have_run());
    // A Windows pipe lasts as long as the handler.
    if cfg!(unix) {
        assert_eq!(read_to_end(&connection), b"");
    }
    keeper.let_pass();
}

#[test]
fn a_drain_may_have_no_timeout() {
    let mut config = ServerConfig::default();
    config.drain_timeout = Duration::MAX;
    config.write_timeout = Duration::MAX;
    config.connection.first_message_timeout = Duration::MAX;
    config.connection.message_timeout = Duration::MAX;
    config.connection.idle_timeout = Some(Duration::MAX);
    config.connection.undecided_frame_timeout = Duration::MAX;
    let (mut server, keeper) = gated(config);
    let connection = server.connect();
    write(&connection, &request(0xF00F, 1, b""));
    keeper.next();
    server.stop.stop();
    keeper.let_pass();
    server.join().unwrap();
    assert_eq!(frames(&read_to_end(&connection))[0].payload, b"done");
}

#[test]
fn under_load_every_request_that_was_received_is_answered() {
    for _ in 0..5 {
        let handled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&handled);
        let enough = 2000;
        let (report, reached) = mpsc::channel();
        let mut server = TestServer::start(move |server| {
            server.serve_quickly(0xF00F, move |request| {
                if counter.fetch_add(1, Ordering::Relaxed) == enough {
                    report.send(())?;
                }
                Ok(request.payload().to_vec())
            })
        });
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let connection = server.connect();
                let reader = connection.try_clone().unwrap();
                let writing = std::thread::spawn(move || {
                    let batch: Vec<u8> = (1..=50).flat_map(|id| request(0xF00F, id, &[7; 40])).collect();
                    while connection.write_all_deadline(&batch, None).is_ok() {}
                });
                (writing, std::thread::spawn(move || frames(&read_to_end(&reader)).len()))
            })
            .collect();
        next(&reached);
        server.stop_and_join().unwrap();
        let answered = watched(move || {
            clients
                .into_iter()
                .map(|(writing, reading)| {
                    writing.join().unwrap();
                    reading.join().unwrap()
                })
                .sum::<usize>()
        });
        assert!(answered > enough);
        assert_eq!(answered, handled.load(Ordering::Relaxed));
    }
}

#[test]
fn a_request_that_was_sent_before_the_stop_is_received() {
    let mut server = TestServer::start(|server| server);
    let connections: Vec<LocalStream> = (0..50).map(|_| server.connect()).collect();
    for connection in &connections {
        // An answer shows that the connection is accepted.
        write(connection, &request(SHOUT, 1, b"accepted"));
        assert_eq!(read_frames(connection, 1)[0].payload, b"ACCEPTED");
    }
    for connection in &connections {
        write(connection, &request(SHOUT, 2, b"late"));
    }
    server.stop_and_join().unwrap();
    for connection in &connections {
        assert_eq!(frames(&read_to_end(connection))[0].payload, b"LATE");
    }
}

#[test]
fn a_stop_ends_the_stream_that_a_legacy_handler_reads() {
    let (report, heard) = mpsc::channel();
    let (begun, has_begun) = mpsc::channel();
    let mut server = TestServer::start(|server| {
        server.legacy(
            |_| LegacyClassification::NotLegacy,
            move |mut connection| {
                let mut first = [0; 2];
                connection.read_exact(&mut first).unwrap();
                begun.send(()).unwrap();
                let mut rest = Vec::new();
                let ended = connection.read_to_end(&mut rest).map_err(|error| error.kind());
                report.send((first, rest, ended)).unwrap();
            },
        )
    });
    let connection = server.connect();
    write(&connection, b"to");
    next(&has_begun);
    write(&connection, b" the last byte");
    server.stop_and_join().unwrap();
    assert_eq!(next(&heard), (*b"to", b" the last byte".to_vec(), Ok(14)));
    assert_eq!(read_to_end(&connection), b"");
    assert!(!server.has_more_errors());
}

#[test]
fn a_server_that_was_stopped_before_it_runs_ends_at_once() {
    let temp = TempEndpoint::new();
    let server = TestServer::bind(temp.endpoint.clone())
        .unwrap()
        .identity_file(temp.identity_file())
        .serve_quickly(SHOUT, |_| Ok(Vec::new()));
    let mut waiting = FrameClient::connect(&temp.endpoint).unwrap();
    waiting.set_timeout(Some(PATIENCE));
    server.stop_handle().stop();
    watched(move || server.run().unwrap());
    assert!(waiting.request(SHOUT, b"x".to_vec()).is_err());
    assert!(!temp.identity_file().exists());
}

/// Adds a handler that sends events until sending fails.
#[cfg(unix)]
fn floods<D: Daemon>(server: D) -> (D, mpsc::Receiver<()>) {
    let (end, ended) = mpsc::channel();
    let server = server.serve(0xF00F, move |request| {
        let event = vec![0; 64 * 1024];
        while request.send_event(&event).is_ok() {}
        // The test may have dropped the receiver.
        let _ = end.send(());
        Ok(Vec::new())
    });
    (server, ended)
}

/// A write to a Windows pipe cannot be abandoned until the peer reads it.
#[cfg(unix)]
#[test]
fn a_peer_that_reads_nothing_does_not_delay_the_end() {
    let mut ended = None;
    let mut config = ServerConfig::default();
    // Longer than a test may take.
    config.drain_timeout = 10 * PATIENCE;
    config.write_timeout = 10 * PATIENCE;
    let mut server = TestServer::start(|server| {
        let (server, end) = floods(server.config(config));
        ended = Some(end);
        server.serve_inline(0xF010, |_| Ok(vec![0; 4 << 20]))
    });
    let (events, answer) = (server.connect(), server.connect());
    write(&events, &request(0xF00F, 1, b""));
    write(&answer, &request(0xF010, 2, b""));
    read(&events, 1);
    read(&answer, 1);
    server.stop_and_join().unwrap();
    next(&ended.unwrap());
    for _ in 0..2 {
        assert_eq!(server.error(), "a connection failed: the deadline has passed");
    }
}

#[cfg(unix)]
#[test]
fn a_peer_that_reads_slowly_gets_its_answer_after_the_stop() {
    let mut config = ServerConfig::default();
    config.drain_timeout = 10 * PATIENCE;
    let mut server =
        TestServer::start(|server| server.config(config).serve_inline(0xF010, |_| Ok(vec![7; 4 << 20])));
    let connection = server.connect();
    write(&connection, &request(0xF010, 2, b""));
    let first = read(&connection, 1);
    server.stop.stop();
    let rest = watched(move || {
        let mut rest = first;
        let mut bytes = vec![0; 64 * 1024];
        loop {
            // In all, the reader takes longer than the timeout of a peer that reads nothing.
            std::thread::sleep(Duration::from_millis(30));
            match connection.read_deadline(&mut bytes, Some(soon())).unwrap() {
                0 => return rest.len(),
                length => rest.resize(rest.len() + length, 0),
            }
        }
    });
    assert!(rest > 4 << 20);
    server.join().unwrap();
    assert!(!server.has_more_errors());
}
