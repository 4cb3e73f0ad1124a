//! Tests of behaviour that only pipes have.

use std::os::windows::io::AsHandle;

use super::{pair, soon, watched};
use crate::sys::windows_pipe::{self, Transfer};
use crate::sys::windows_wait::Event;
use crate::transport::LocalStream;

/// Writes no bytes, for which the peer's read returns.
fn write_nothing(stream: &LocalStream) {
    let written = windows_pipe::write(stream.as_handle(), &[], &mut Event::new().unwrap(), Some(soon()));
    assert!(matches!(written, Ok(Transfer::Done(0))), "{written:?}");
}

#[test]
fn an_empty_write_of_the_other_side_is_not_the_end() {
    let (client, server) = pair();
    for round in 0..10 {
        write_nothing(&server);
        server.write_all_deadline(&[round], Some(soon())).unwrap();
        let mut byte = [0xff];
        assert_eq!(client.read_deadline(&mut byte, Some(soon())).unwrap(), 1);
        assert_eq!(byte, [round]);
    }
    write_nothing(&server);
    drop(server);
    assert_eq!(client.read_deadline(&mut [0], Some(soon())).unwrap(), 0);
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;
    use crate::transport::{ServedStream, ServedTransport, into_async, poll_read_onto};
    use std::future::poll_fn;
    use std::io;
    use std::thread;

    /// Reads the next bytes of a connection.
    trait Reads: Sized {
        fn new(stream: LocalStream) -> Self;
        async fn read(&mut self) -> io::Result<Vec<u8>>;
    }

    impl Reads for ServedStream {
        fn new(stream: LocalStream) -> Self {
            Self::new(stream).unwrap()
        }

        async fn read(&mut self) -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; 16];
            let length = poll_fn(|context| self.poll_read(context, &mut bytes)).await?;
            bytes.truncate(length);
            Ok(bytes)
        }
    }

    impl Reads for crate::transport::AsyncStream {
        fn new(stream: LocalStream) -> Self {
            into_async(stream).unwrap()
        }

        async fn read(&mut self) -> io::Result<Vec<u8>> {
            let mut bytes = Vec::with_capacity(16);
            poll_fn(|context| poll_read_onto(self, context, &mut bytes)).await?;
            Ok(bytes)
        }
    }

    /// Checks that nothing is lost and nothing ends early, however the writes fall into reads.
    fn empty_writes_are_passed_over<R: Reads>() {
        let (client, server) = pair();
        watched(move || {
            let writer = thread::spawn(move || {
                for round in 0..50 {
                    write_nothing(&server);
                    write_nothing(&server);
                    server.write_all_deadline(&[round], Some(soon())).unwrap();
                }
                write_nothing(&server);
            });
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let received = runtime.block_on(async {
                let mut client = R::new(client);
                let mut received = Vec::new();
                loop {
                    let bytes = client.read().await.unwrap();
                    if bytes.is_empty() {
                        return received;
                    }
                    received.extend(bytes);
                }
            });
            writer.join().unwrap();
            assert_eq!(received, (0..50).collect::<Vec<u8>>());
        });
    }

    #[test]
    fn an_empty_write_of_the_other_side_is_not_the_end_for_a_server() {
        empty_writes_are_passed_over::<ServedStream>();
    }

    #[test]
    fn an_empty_write_of_the_other_side_is_not_the_end_for_a_client() {
        empty_writes_are_passed_over::<crate::transport::AsyncStream>();
    }
}
