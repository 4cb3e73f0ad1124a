//! A server at its limit of connections answers probes and refuses requests.

use super::TestServer;
#[cfg(unix)]
use crate::frame_client::peer::Client;
#[cfg(all(unix, feature = "tokio"))]
use crate::frame_client::peer::OnTokio;
use crate::daemon::Daemon;
use crate::support::{PATIENCE, eventually, frames, read_to_end, request, watched, write};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::{
    ConnectError, FrameClient, FrameClientError, LegacyClassification, OVER_CAPACITY_CONNECTIONS, ServerConfig,
};
use running_process::broker::protocol::{Endpoint, Refusal, RefusalReason};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
#[cfg(feature = "tokio")]
use std::time::Instant;

/// Answers in upper case, and counts.
const COUNTED: u32 = 0xF015;

const RETRY_AFTER: Duration = Duration::from_millis(70);
const FULL: &str = "1 connections are open, one more is not served";

/// A full server, the number of runs of its handlers, and the client that fills it.
struct FullServer {
    server: TestServer,
    ran: Arc<AtomicUsize>,
    holds: FrameClient,
}

impl FullServer {
    fn start() -> Self {
        let ran = Arc::new(AtomicUsize::new(0));
        let (count, legacy) = (Arc::clone(&ran), Arc::clone(&ran));
        let mut config = ServerConfig::default();
        config.max_connections = 1;
        config.retry_after = RETRY_AFTER;
        let server = TestServer::start(|server| {
            server
                .config(config)
                .serve_quickly(COUNTED, move |request| {
                    count.fetch_add(1, Ordering::SeqCst);
                    Ok(request.payload().to_ascii_uppercase())
                })
                .legacy(
                    |_| LegacyClassification::NotLegacy,
                    move |_| {
                        legacy.fetch_add(1, Ordering::SeqCst);
                    },
                )
        });
        // The connection of the start's probe may not have ended yet.
        server.wait_open(0);
        let mut holds = server.client();
        assert_eq!(holds.request(COUNTED, b"held".to_vec()).unwrap().payload, b"HELD");
        Self { server, ran, holds }
    }

    fn assert_nothing_ran(mut self) {
        assert_eq!(self.ran.load(Ordering::SeqCst), 1, "only the request of the client that fills it");
        assert_eq!(self.holds.request(COUNTED, b"on".to_vec()).unwrap().payload, b"ON");
    }
}

#[track_caller]
fn assert_overloaded(error: &FrameClientError) {
    assert!(!error.may_have_run());
    let FrameClientError::Refused(refusal) = error else { panic!("{error:?}") };
    assert_eq!(refusal.reason(), RefusalReason::Overloaded);
    assert_eq!(refusal.message, "the limit of 1 connections is reached");
    assert_eq!(refusal.retry_after_ms, Some(70));
}

/// Sends requests until the server answers that it is full. The server may close the connection of a client that is preempted
/// before it sends, and on Windows the backlog is short.
fn assert_told(endpoint: &Endpoint) {
    let told = || {
        let mut client = match FrameClient::connect(endpoint) {
            Err(FrameClientError::Connect(ConnectError::BacklogFull { .. })) => return None,
            connected => connected.unwrap(),
        };
        client.set_timeout(Some(PATIENCE));
        match client.request(COUNTED, b"x".to_vec()).unwrap_err() {
            FrameClientError::Closed | FrameClientError::NotReceived => None,
            told => Some(told),
        }
    };
    assert_overloaded(&eventually(told));
}

#[test]
fn a_probe_is_answered_and_the_request_behind_it_refused() {
    let full = FullServer::start();
    let mut client = watched({
        let (endpoint, daemon) = (full.server.temp.endpoint.clone(), full.server.daemon());
        move || BackendHandle::probe_with_service("test", "1", &endpoint, &daemon).unwrap().into_client()
    });
    assert_eq!(full.server.error(), FULL);
    client.set_timeout(Some(PATIENCE));
    assert_overloaded(&client.request(COUNTED, b"x".to_vec()).unwrap_err());
    let error = client.request(COUNTED, b"x".to_vec()).unwrap_err();
    assert!(matches!(error, FrameClientError::Closed | FrameClientError::NotReceived), "{error:?}");
    full.assert_nothing_ran();
}

#[test]
fn every_request_that_came_is_refused_and_then_the_connection_ends() {
    let full = FullServer::start();
    let connection = full.server.connect();
    write(&connection, &[request(COUNTED, 1, b"x"), request(COUNTED, 2, b"y")].concat());
    let frames = frames(&read_to_end(&connection));
    let ids: Vec<_> = frames.iter().map(|frame| frame.request_id).collect();
    assert_eq!(ids, [1, 2]);
    assert!(frames.iter().all(|frame| Refusal::from_frame(&frame.borrowed()).is_some()));
    full.assert_nothing_ran();
}

#[cfg(unix)]
#[test]
fn every_client_is_told_that_the_server_is_full() {
    let full = FullServer::start();
    asks::<FrameClient>(&full);
    #[cfg(feature = "tokio")]
    asks::<OnTokio>(&full);
    full.assert_nothing_ran();
}

#[cfg(unix)]
fn asks<C: Client>(full: &FullServer) {
    let endpoint = full.server.temp.endpoint.clone();
    assert_overloaded(&watched(move || C::connect(&endpoint).unwrap().request(b"x").unwrap_err()));
}

#[cfg(feature = "tokio")]
#[test]
fn a_reconnecting_client_is_told_and_served_once_a_connection_has_ended() {
    use running_process::broker::backend_sdk::{ReconnectConfig, ReconnectError, ReconnectingClient};
    let full = FullServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = ReconnectingClient::new(full.server.temp.identity_file(), ReconnectConfig::default());
    let ask = || runtime.block_on(client.request_deadline(COUNTED, b"x".to_vec(), Instant::now() + PATIENCE));
    match ask().unwrap_err() {
        ReconnectError::Request(error) => assert_overloaded(&error),
        error => panic!("{error:?}"),
    }
    let FullServer { server, holds, .. } = full;
    drop(holds);
    // The server may not have noticed yet that the connection over capacity has ended.
    let response = eventually(|| ask().ok());
    assert_eq!(response.payload, b"X");
    drop(server);
}

#[test]
fn a_peer_of_the_legacy_wire_is_closed() {
    let full = FullServer::start();
    let connection = full.server.connect();
    write(&connection, b"-old");
    assert_eq!(read_to_end(&connection), b"");
    full.assert_nothing_ran();
}

#[test]
fn a_silent_peer_is_closed_soon() {
    let full = FullServer::start();
    let silent = full.server.connect();
    assert_eq!(read_to_end(&silent), b"");
    assert_eq!(full.server.error(), FULL);
    let error = full.server.error();
    assert_eq!(error, "a connection was ended: the peer was too slow: waited for the first message");
    full.assert_nothing_ran();
}

/// The silent connections and the accepted ones fit every system's backlog.
#[test]
fn silent_peers_do_not_keep_others_from_being_told() {
    let full = FullServer::start();
    let silent: Vec<_> = (0..3 * OVER_CAPACITY_CONNECTIONS).map(|_| full.server.connect()).collect();
    for _ in 0..OVER_CAPACITY_CONNECTIONS {
        assert_told(&full.server.temp.endpoint);
    }
    let open = full.server.stats.snapshot().connections_open;
    assert!(open <= 1 + OVER_CAPACITY_CONNECTIONS as u64, "{open}");
    drop(silent);
    full.assert_nothing_ran();
}

#[test]
fn many_peers_at_once_are_each_told() {
    let full = FullServer::start();
    let crowd = 4 * OVER_CAPACITY_CONNECTIONS;
    std::thread::scope(|scope| {
        for _ in 0..crowd {
            let endpoint = &full.server.temp.endpoint;
            scope.spawn(move || assert_told(endpoint));
        }
    });
    let status = full.server.stats.snapshot();
    assert!(status.connections_refused >= crowd as u64, "{status:?}");
    assert_eq!(status.requests_refused[RefusalReason::Overloaded as usize], crowd as u64);
    full.assert_nothing_ran();
}

#[test]
fn a_full_server_stops_while_peers_wait_to_be_accepted() {
    let FullServer { mut server, holds, .. } = FullServer::start();
    let silent: Vec<_> = (0..2 * OVER_CAPACITY_CONNECTIONS).map(|_| server.connect()).collect();
    server.stop_and_join().unwrap();
    drop((silent, holds));
}
