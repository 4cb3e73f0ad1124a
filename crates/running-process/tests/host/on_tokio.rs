//! The asynchronous client against a server, over whatever transport the system has.

use crate::daemon::Blocking;
use crate::support::{PATIENCE, REVERSE, SHOUT, TempEndpoint, TestServer, soon, watched};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_lifecycle::probe::{ProbeError, probe_endpoint_async};
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::{
    AsyncFrameClient, ConnectError, FrameClientError, LocalListener, ReconnectConfig, ReconnectingClient,
};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_server_answers_on_a_new_connection_and_on_one_that_was_proven() {
    let server = TestServer::<Blocking>::start(|server| server);
    let connected = AsyncFrameClient::connect(&server.temp.endpoint).await.unwrap();
    assert_eq!(connected.request(SHOUT, b"new".to_vec()).await.unwrap().payload, b"NEW");
    let proven = AsyncFrameClient::from_stream(server.handle().into_stream()).unwrap();
    assert_eq!(proven.request(REVERSE, b"proven".to_vec()).await.unwrap().payload, b"nevorp");
}

#[tokio::test]
async fn a_server_answers_many_tasks_on_one_connection() {
    let server = TestServer::<Blocking>::start(|server| server);
    let client = AsyncFrameClient::connect(&server.temp.endpoint).await.unwrap();
    let mut requests = JoinSet::new();
    for number in 0..64_u8 {
        let client = client.clone();
        requests.spawn(async move {
            let payload = vec![number; 1 + usize::from(number) * 4096];
            let deadline = Instant::now() + PATIENCE;
            let response = client.request_deadline(REVERSE, payload.clone(), deadline).await.unwrap();
            assert!(response.payload == payload);
        });
    }
    assert_eq!(requests.join_all().await.len(), 64);
}

#[tokio::test]
async fn a_server_that_stops_has_closed_the_connection() {
    let mut server = TestServer::<Blocking>::start(|server| server);
    let client = AsyncFrameClient::connect(&server.temp.endpoint).await.unwrap();
    assert_eq!(client.request(SHOUT, b"one".to_vec()).await.unwrap().payload, b"ONE");
    server.stop_and_join().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = client.request_deadline(SHOUT, b"two".to_vec(), deadline).await;
    assert!(matches!(error, Err(FrameClientError::NotReceived)), "{error:?}");
    let error = client.request(SHOUT, b"three".to_vec()).await;
    assert!(matches!(error, Err(FrameClientError::Dead)), "{error:?}");
    let error = AsyncFrameClient::connect(&server.temp.endpoint).await;
    assert!(matches!(error, Err(FrameClientError::Connect(ConnectError::NotFound { .. }))), "{error:?}");
}

/// Any thread of a runtime may go on with it.
fn spawnable<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test]
async fn a_daemon_is_proven_by_a_task_and_its_connections_serve_tasks_and_threads() {
    let server = TestServer::<Blocking>::start(|server| server);
    let identity = server.daemon();
    let endpoint = &server.temp.endpoint;
    let prove = || spawnable(BackendHandle::probe_with_service_async("cache", "1", endpoint, &identity));
    let handle = prove().await.unwrap();
    assert_eq!((&handle.service_name[..], &handle.service_version[..]), ("cache", "1"));
    assert!(handle.is_alive());
    let further = AsyncFrameClient::from_stream(spawnable(handle.connect_async()).await.unwrap()).unwrap();
    assert_eq!(further.request(SHOUT, b"further".to_vec()).await.unwrap().payload, b"FURTHER");
    drop((spawnable(handle.shutdown_async(PATIENCE)), spawnable(handle.force_kill_async())));
    let proven = handle.into_async_client().unwrap();
    assert_eq!(proven.request(REVERSE, b"proven".to_vec()).await.unwrap().payload, b"nevorp");

    let mut blocking = prove().await.unwrap().into_client();
    let answer = watched(move || blocking.request(SHOUT, b"blocking".to_vec()).unwrap().payload);
    assert_eq!(answer, b"BLOCKING");
    let stream = spawnable(probe_endpoint_async(endpoint, soon())).await.unwrap().stream;
    let probed = AsyncFrameClient::from_stream(stream).unwrap();
    assert_eq!(probed.request(SHOUT, b"probed".to_vec()).await.unwrap().payload, b"PROBED");
    let proven_by_a_thread = server.handle().into_async_client().unwrap();
    assert_eq!(proven_by_a_thread.request(SHOUT, b"x".to_vec()).await.unwrap().payload, b"X");
}

#[tokio::test]
async fn a_daemon_that_never_accepts_costs_a_task_the_deadline() {
    let identity = TestServer::<Blocking>::start(|server| server).daemon();
    let temp = TempEndpoint::new();
    let _silent = LocalListener::bind(&temp.endpoint.path).unwrap();
    let mut expected = identity;
    expected.ipc_endpoint = temp.endpoint.clone();
    let deadline = Instant::now() + Duration::from_millis(80);
    let refused = BackendHandle::verify_async(&expected, Policy::default(), deadline).await.unwrap_err();
    assert!(matches!(refused, ProbeError::TimedOut), "{refused:?}");
    assert!(Instant::now() >= deadline);
    let refused = BackendHandle::verify_async(&expected, Policy::default(), deadline).await.unwrap_err();
    assert!(matches!(refused, ProbeError::TimedOut), "a deadline that has passed: {refused:?}");
}

#[tokio::test]
async fn a_reconnecting_client_finds_the_server_by_its_identity_file() {
    let server = TestServer::<Blocking>::start(|server| server);
    let client = ReconnectingClient::new(server.temp.identity_file(), ReconnectConfig::default());
    assert_eq!(client.request(SHOUT, b"one".to_vec()).await.unwrap().payload, b"ONE");
    let deadline = Instant::now() + PATIENCE;
    let again = client.clone().request_deadline(REVERSE, b"two".to_vec(), deadline).await;
    assert_eq!(again.unwrap().payload, b"owt");
}
