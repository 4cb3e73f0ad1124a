//! The asynchronous client against a server, over whatever transport the system has.

use crate::support::{PATIENCE, REVERSE, Running, SHOUT};
use running_process::broker::backend_sdk::{AsyncFrameClient, ConnectError, FrameClientError};
use std::time::Instant;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_server_answers_on_a_new_connection_and_on_one_that_was_proven() {
    let server = Running::start(|server| server);
    let connected = AsyncFrameClient::connect(&server.place.endpoint).await.unwrap();
    assert_eq!(connected.request(SHOUT, b"new".to_vec()).await.unwrap().payload, b"NEW");
    let proven = AsyncFrameClient::from_stream(server.handle().into_stream()).unwrap();
    assert_eq!(proven.request(REVERSE, b"proven".to_vec()).await.unwrap().payload, b"nevorp");
}

#[tokio::test]
async fn a_server_answers_many_tasks_on_one_connection() {
    let server = Running::start(|server| server);
    let client = AsyncFrameClient::connect(&server.place.endpoint).await.unwrap();
    let mut requests = JoinSet::new();
    for number in 0..64_u8 {
        let client = client.clone();
        requests.spawn(async move {
            let payload = vec![number; 1 + usize::from(number) * 4096];
            let deadline = Instant::now() + PATIENCE;
            let response = client.request_before(REVERSE, payload.clone(), deadline).await.unwrap();
            assert!(response.payload == payload);
        });
    }
    assert_eq!(requests.join_all().await.len(), 64);
}

#[tokio::test]
async fn a_server_that_stops_has_closed_the_connection() {
    let mut server = Running::start(|server| server);
    let client = AsyncFrameClient::connect(&server.place.endpoint).await.unwrap();
    assert_eq!(client.request(SHOUT, b"one".to_vec()).await.unwrap().payload, b"ONE");
    server.stop_and_join().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = client.request_before(SHOUT, b"two".to_vec(), deadline).await;
    assert!(matches!(error, Err(FrameClientError::Closed)), "{error:?}");
    let error = client.request(SHOUT, b"three".to_vec()).await;
    assert!(matches!(error, Err(FrameClientError::Dead)), "{error:?}");
    let error = AsyncFrameClient::connect(&server.place.endpoint).await;
    assert!(matches!(error, Err(FrameClientError::Connect(ConnectError::NotFound { .. }))), "{error:?}");
}
