//! A client that outlives its daemons, with real ones that are killed, replaced and imitated.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_lifecycle::probe::{Absence, ProbeError};
use running_process::broker::backend_sdk::{
    ConnectFailure, FrameClientError, ReconnectConfig, ReconnectError, ReconnectingClient,
    try_read_daemon_identity_file,
};
use running_process_acceptance::wire::SHOUT;
use running_process_acceptance::{Peer, SECRET, TestEndpoint, soon};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Returns a policy with short pauses.
fn quick(attempts: u32) -> ReconnectConfig {
    let mut reconnect = ReconnectConfig::default();
    reconnect.max_attempts = attempts;
    reconnect.initial_backoff = Duration::from_millis(5);
    reconnect.max_backoff = Duration::from_millis(20);
    reconnect
}

/// Returns a policy that tries for as long as any test waits.
fn long_retries() -> ReconnectConfig {
    quick(u32::MAX)
}

async fn shout(client: &ReconnectingClient, word: &str) -> Result<Vec<u8>, ReconnectError> {
    let response = client.request_deadline(SHOUT, word.as_bytes().to_vec(), soon()).await?;
    Ok(response.payload)
}

/// Kills the daemon, and waits until `client` has noticed.
async fn kill(daemon: &mut Peer, client: &ReconnectingClient) {
    let mut events = client.connection().await.unwrap().events().unwrap();
    daemon.kill();
    let end = events.next().await.unwrap().unwrap_err();
    assert!(matches!(end, FrameClientError::Closed), "{end:?}");
}

fn reason(error: &ReconnectError) -> (u32, &ConnectFailure) {
    assert!(!error.may_have_run(), "{error:?}");
    match error {
        ReconnectError::NotConnected { attempts, source } => (*attempts, source),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_next_request_goes_to_the_daemon_that_was_started_after_the_first_was_killed() {
    let place = TestEndpoint::new(PEER);
    let mut first = place.start("aloud");
    let client = ReconnectingClient::new(&place.identity_file, long_retries());
    assert_eq!(shout(&client, "one").await.unwrap(), b"ONE");
    assert_eq!(first.line().as_deref(), Some("one"));
    kill(&mut first, &client).await;

    // The request is made while there is no daemon.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { shout(&client, "two").await }
    });
    tokio::task::yield_now().await;
    let mut second = place.start("aloud");
    assert_eq!(waiting.await.unwrap().unwrap(), b"TWO");
    assert_eq!(second.line().as_deref(), Some("two"));
    assert_eq!(shout(&client, "three").await.unwrap(), b"THREE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_at_the_end_of_its_daemon_may_have_run_and_is_not_sent_again() {
    let place = TestEndpoint::new(PEER);
    let mut first = place.start("aloud");
    let client = ReconnectingClient::new(&place.identity_file, long_retries());
    let in_flight = tokio::spawn({
        let client = client.clone();
        async move { shout(&client, "stall").await }
    });
    assert_eq!(first.line().as_deref(), Some("stall"));
    first.kill();
    let error = in_flight.await.unwrap().unwrap_err();
    assert!(matches!(error, ReconnectError::Request(FrameClientError::Closed)), "{error:?}");
    assert!(error.may_have_run());

    let mut second = place.start("aloud");
    assert_eq!(shout(&client, "after").await.unwrap(), b"AFTER");
    assert_eq!(second.line().as_deref(), Some("after"), "nothing came before it");
}

#[tokio::test]
async fn a_request_that_the_dying_connection_never_took_goes_to_the_next_daemon() {
    let place = TestEndpoint::new(PEER);
    let mut first = place.start("aloud");
    let client = ReconnectingClient::new(&place.identity_file, long_retries());
    client.connection().await.unwrap();
    first.stop();
    let ask = |payload: Vec<u8>| {
        let client = client.clone();
        tokio::spawn(async move { client.request_deadline(SHOUT, payload, soon()).await })
    };
    // More bytes are sent than a daemon that does not read takes, so the connection takes nothing after them.
    let large = ask(vec![b'x'; 8 << 20]);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let queued = ask(b"queued".to_vec());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    first.kill();
    let mut second = place.start("aloud");
    let error = large.await.unwrap().unwrap_err();
    assert!(matches!(error, ReconnectError::Request(FrameClientError::NotReceived)), "{error:?}");
    assert!(!error.may_have_run());
    assert_eq!(queued.await.unwrap().unwrap().payload, b"QUEUED");
    assert_eq!(second.line().as_deref(), Some("queued"));
}

#[tokio::test]
async fn an_impostor_at_the_path_of_a_dead_daemon_is_never_connected_to() {
    let place = TestEndpoint::new(PEER);
    let mut daemon = place.start("aloud");
    let client = ReconnectingClient::new(&place.identity_file, quick(3));
    assert_eq!(shout(&client, "one").await.unwrap(), b"ONE");
    kill(&mut daemon, &client).await;
    let mut impostor = place.start("replay");
    let error = client.request(SHOUT, SECRET.to_vec()).await.unwrap_err();
    let (attempts, reason) = reason(&error);
    assert_eq!(attempts, 3);
    let gone = matches!(reason, ConnectFailure::Probe(ProbeError::Gone { how: Absence::Exited, .. }));
    assert!(gone, "{reason:?}");
    assert_eq!(impostor.received(), [] as [Vec<u8>; 0]);
}

#[tokio::test]
async fn an_impostor_in_the_place_of_a_live_daemon_is_told_after_three_looks() {
    let place = TestEndpoint::new(PEER);
    let _daemon = place.start("genuine");
    let mut impostor = place.start("replay");
    let client = ReconnectingClient::new(&place.identity_file, long_retries());
    let error = client.request(SHOUT, SECRET.to_vec()).await.unwrap_err();
    let (attempts, reason) = reason(&error);
    // In the middle of a handover the other one of two daemons may answer, so the client looks again.
    assert_eq!(attempts, 3);
    let expected = impostor.pid();
    let named = matches!(reason, ConnectFailure::Probe(ProbeError::Impostor { pid, .. }) if *pid == expected);
    assert!(named, "{reason:?}");
    assert_eq!(impostor.received(), [b""; 3], "it was connected to, and told nothing");
}

#[tokio::test]
async fn many_callers_wait_for_one_reconnection() {
    let place = TestEndpoint::new(PEER);
    let _daemon = place.start("aloud");
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let identity_file = place.identity_file.clone();
    let identities = move || match counted.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Ok(None),
        _ => try_read_daemon_identity_file(&identity_file),
    };
    let client = ReconnectingClient::with_identities(identities, long_retries());
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let client = client.clone();
        callers.spawn(async move { assert_eq!(shout(&client, "x").await.unwrap(), b"X") });
    }
    assert_eq!(callers.join_all().await.len(), 32);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn callers_that_wait_for_attempts_in_vain_are_told_by_them_and_the_next_tries_again() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let identities = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    };
    let client = ReconnectingClient::with_identities(identities, quick(4));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        callers.spawn(async move {
            let error = client.request(SHOUT, Vec::new()).await.unwrap_err();
            assert!(matches!(reason(&error), (4, ConnectFailure::NoIdentityFile)), "{error:?}");
        });
    }
    callers.join_all().await;
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    client.connection().await.unwrap_err();
    assert_eq!(asked.load(Ordering::Relaxed), 8);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_without_a_daemon_is_kept_and_nothing_was_sent() {
    let client = ReconnectingClient::with_identities(|| Ok(None), long_retries());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
    let error = client.request_deadline(SHOUT, Vec::new(), deadline.into_std()).await.unwrap_err();
    assert!(matches!(error, ReconnectError::NotInTime), "{error:?}");
    assert!(!error.may_have_run());
    assert_eq!(tokio::time::Instant::now().duration_since(deadline), Duration::ZERO);

    // The policy has a deadline where the caller has none.
    let began = tokio::time::Instant::now();
    let error = client.request(SHOUT, Vec::new()).await.unwrap_err();
    assert!(matches!(reason(&error), (_, ConnectFailure::NoIdentityFile)), "{error:?}");
    assert!(began.elapsed() >= Duration::from_secs(30) && began.elapsed() < Duration::from_secs(33));
}

#[tokio::test]
async fn an_identity_file_that_is_not_to_be_trusted_is_told_at_once() {
    let place = TestEndpoint::new(PEER);
    std::fs::write(&place.identity_file, "no identity").unwrap();
    let client = ReconnectingClient::new(&place.identity_file, long_retries());
    let error = client.request(SHOUT, Vec::new()).await.unwrap_err();
    assert!(matches!(reason(&error), (1, ConnectFailure::IdentityFile(_))), "{error:?}");
}
