//! The same on tokio: a task for each connection, which waits in the socket's readiness and owns no buffer while it does.

use crate::party::{Client, Exchange, Server, on_tokio, runtime};
use crate::scratch::Scratch;
use std::io;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

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

/// A batch of messages, then the batch of answers.
pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "raw-tokio");
    let runtime = runtime();
    let stream = runtime.block_on(UnixStream::connect(server.socket())).unwrap();
    let requests = exchange.request().repeat(at_once);
    let connection = Mutex::new((stream, vec![0; exchange.response_length() * at_once]));
    on_tokio(server, runtime, 1, async move || {
        let (stream, responses) = &mut *connection.lock().await;
        stream.write_all(&requests).await.unwrap();
        stream.read_exact(responses).await.unwrap();
    })
}
