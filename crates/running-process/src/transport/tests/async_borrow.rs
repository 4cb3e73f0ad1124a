//! Connections that a task uses for a while.

use super::{TEST_TIMEOUT, pair, soon, watched};
use crate::sys::PidfdPolicy;
use std::io;
use std::time::Duration;
use tokio::time::timeout;

/// Reads the next bytes.
async fn read(stream: &super::LocalStream) -> Vec<u8> {
    let mut bytes = [0; 4096];
    let borrow = stream.as_async().unwrap();
    let (length, writer) =
        timeout(TEST_TIMEOUT, borrow.read_named(&mut bytes, PidfdPolicy::Use)).await.unwrap().unwrap();
    assert_eq!(writer.is_some(), length > 0);
    bytes[..length].to_vec()
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_connection_blocks_again_afterwards() {
    let (client, server) = watched(pair);
    client.as_async().unwrap().write_all(b"to the server").await.unwrap();
    assert_eq!(read(&server).await, b"to the server");
    let waiting = async {
        tokio::task::yield_now().await;
        server.as_async().unwrap().write_all(b"to the client").await.unwrap();
    };
    assert_eq!(tokio::join!(read(&client), waiting).0, b"to the client");

    // A call without a deadline waits, so the connection is still in blocking mode.
    watched(move || {
        let reading = std::thread::spawn(move || {
            let mut bytes = [0; 8];
            let length = client.read_deadline(&mut bytes, None).unwrap();
            (bytes[..length].to_vec(), client)
        });
        server.write_all_deadline(b"again", None).unwrap();
        assert_eq!(reading.join().unwrap().0, b"again");
    });
}

#[tokio::test]
async fn a_read_that_is_given_up_takes_nothing_along() {
    let (client, server) = watched(pair);
    for _ in 0..100 {
        let borrow = client.as_async().unwrap();
        timeout(Duration::ZERO, borrow.read_named(&mut [0; 16], PidfdPolicy::Use)).await.unwrap_err();
    }
    server.write_all_deadline(b"late", Some(soon())).unwrap();
    assert_eq!(read(&client).await, b"late");
}

#[tokio::test]
async fn a_write_that_the_other_side_does_not_take_can_be_given_up() {
    let (client, server) = watched(pair);
    let large = vec![b'x'; 4 << 20];
    let borrow = client.as_async().unwrap();
    timeout(Duration::from_millis(20), borrow.write_all(&large)).await.unwrap_err();
    // The number of bytes that were written is unknown.
    let receive = async {
        let mut all = Vec::new();
        while !all.ends_with(b"after") {
            all.extend(read(&server).await);
        }
        all.len()
    };
    let (sent, received) = tokio::join!(borrow.write_all(b"after"), receive);
    sent.unwrap();
    assert!(received < large.len());
}

#[tokio::test]
async fn a_large_write_arrives_whole() {
    let (client, server) = watched(pair);
    let large: Vec<u8> = (0..4_u32 << 20).map(|byte| byte.to_le_bytes()[1]).collect();
    let receive = async {
        let mut all = Vec::new();
        while all.len() < large.len() {
            all.extend(read(&server).await);
        }
        all
    };
    let borrow = client.as_async().unwrap();
    let (sent, received) = tokio::join!(borrow.write_all(&large), receive);
    sent.unwrap();
    assert!(received == large);
}

#[tokio::test]
async fn the_end_of_a_connection_is_read_as_such_and_written_to_in_vain() {
    let (client, server) = watched(pair);
    drop(server);
    assert_eq!(read(&client).await, b"");
    let error = client.as_async().unwrap().write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
