//! The blocking floors again on tokio: a task for each connection, which waits for readiness and owns no buffer meanwhile.

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

/// Echoes all bytes.
async fn echo(mut stream: UnixStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        match echo_once(&stream) {
            Ok(None) => return Ok(()),
            Ok(Some(rest)) => stream.write_all(&rest).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads once and writes once. Returns the bytes that could not be written; none at the end of the stream.
fn echo_once(stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 8192];
    let length = stream.try_read(&mut buffer)?;
    if length == 0 {
        return Ok(None);
    }
    let written = match stream.try_write(&buffer[..length]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        written => written?,
    };
    Ok(Some(buffer[written..length].to_vec()))
}

/// Exchanges a batch of messages for the batch of answers.
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
