//! The same on tokio: a task for each connection, which waits in the socket's readiness and owns no buffer while it does.

use crate::measure::{Run, nanoseconds};
use crate::party::{BATCH, Server, runtime};
use crate::scratch::Scratch;
use std::io;
use std::path::Path;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    runtime().block_on(async {
        let listener = UnixListener::bind(socket).expect("a free path");
        ready();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
}

/// Sends back what comes.
async fn echo(mut stream: UnixStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let mut buffer = [0; 8192];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => stream.write_all(&buffer[..length]).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// One message after the other.
pub fn calls(scratch: &Scratch, size: usize) -> Run {
    let server = Server::start(scratch, "raw-tokio");
    let runtime = runtime();
    let mut stream = runtime.block_on(UnixStream::connect(server.socket())).unwrap();
    let (request, mut response) = (vec![7; size], vec![0; size]);
    Box::new(move |count| {
        let _alive = &server;
        let begin = Instant::now();
        runtime.block_on(async {
            for _ in 0..count {
                stream.write_all(&request).await.unwrap();
                stream.read_exact(&mut response).await.unwrap();
            }
        });
        nanoseconds(begin)
    })
}

/// A batch of messages, then the batch of answers.
pub fn in_flight(scratch: &Scratch, size: usize) -> Run {
    calls(scratch, size * BATCH)
}
