//! The adoption of `running_process`: a detector for the legacy wire, its connection loop, and a handler for frames.

use crate::session::{Next, Session, execute_payload};
use crate::store::Store;
use running_process::broker::backend_sdk::{LegacyClassification, LegacyConnection, Server};
use running_process::broker::protocol::{ENVELOPE_VERSION, MAX_FRAME_BYTES};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

running_process::register_payload_protocol! {
    /// The cache's payload protocol. A request's payload is one command in RESP, the response's is its reply.
    pub const PAYLOAD_PROTOCOL: u32 = 0xF0CA;
}

/// Size of the read buffer of a legacy connection in bytes.
const READ_BYTES: usize = 16 * 1024;

/// Limit of the unfinished request that a legacy connection buffers, in bytes.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// A store that all connections of a daemon share.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Mutex<Store>>);

impl Cache {
    /// Creates an empty cache whose uptime counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Store::new(Instant::now()))))
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A command that panicked leaves the store consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves `cache` on `server`: RESP2 as the legacy wire and [`PAYLOAD_PROTOCOL`] in frames.
///
/// ```
/// use resp_cache::{Cache, attach};
/// use running_process::broker::{backend_sdk::{LocalStream, Server}, protocol::Endpoint};
/// use std::io::{Read, Write};
///
/// # let directory = tempfile::tempdir()?;
/// # #[cfg(unix)]
/// let endpoint = Endpoint::unix_socket("cache", directory.path().join("cache.sock").display().to_string())?;
/// # #[cfg(windows)]
/// # let endpoint = Endpoint::windows_pipe("cache", format!("resp-cache-{}", std::process::id()))?;
/// let server = attach(Server::bind(endpoint.clone())?, &Cache::new());
/// let stop = server.stop_handle();
/// let running = std::thread::spawn(move || server.run());
///
/// let mut client = LocalStream::connect(&endpoint.path)?;
/// client.write_all(b"PING\r\n")?;
/// let mut reply = [0; 7];
/// client.read_exact(&mut reply)?;
/// assert_eq!(&reply, b"+PONG\r\n");
/// drop(client);
///
/// stop.stop();
/// running.join().expect("the server does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn attach(server: Server, cache: &Cache) -> Server {
    let (framed, legacy) = (cache.clone(), cache.clone());
    server
        .serve(PAYLOAD_PROTOCOL, move |request| {
            Ok(fit_frame(execute_payload(&mut framed.lock(), request.payload(), Instant::now())))
        })
        .legacy(detect, move |connection| serve_legacy(&legacy, connection))
}

/// Classifies the start of a connection by its first byte.
///
/// A RESP request begins with `*` or, as an inline command, with a printable character or white space. A frame begins
/// with 0x01, which is neither, so one byte always decides.
fn detect(buffer: &[u8]) -> LegacyClassification {
    match buffer.first() {
        None => LegacyClassification::NeedMoreBytes,
        Some(&ENVELOPE_VERSION) => LegacyClassification::NotLegacy,
        Some(_) => LegacyClassification::Legacy,
    }
}

/// Returns the reply, or an error reply if no frame can carry it.
fn fit_frame(reply: Vec<u8>) -> Vec<u8> {
    /// Upper bound of a response's envelope without trace context.
    const ENVELOPE_BYTES: usize = 64;
    if reply.len() <= MAX_FRAME_BYTES - ENVELOPE_BYTES {
        reply
    } else {
        format!("-ERR the reply is {} bytes, a frame carries {MAX_FRAME_BYTES}\r\n", reply.len()).into_bytes()
    }
}

/// Serves one legacy connection until it ends.
fn serve_legacy(cache: &Cache, mut connection: LegacyConnection) {
    let mut session = Session::open(&mut cache.lock());
    // An error means that the peer is gone, which is the ordinary end of a connection.
    let _peer_gone = answer(cache, &mut session, &mut connection);
    session.close(&mut cache.lock());
}

/// Answers requests until the peer quits, breaks the protocol or closes the connection.
fn answer(cache: &Cache, session: &mut Session, stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut input = Vec::new();
    let mut replies = Vec::new();
    let mut bytes = [0; READ_BYTES];
    loop {
        let outcome = session.receive(&mut cache.lock(), &input, Instant::now(), &mut replies);
        input.drain(..outcome.consumed);
        stream.write_all(&replies)?;
        replies.clear();
        match outcome.next {
            Next::Close => return Ok(()),
            Next::Resume => {}
            Next::Read => match stream.read(&mut bytes)? {
                0 => return Ok(()),
                _ if input.len() > MAX_REQUEST_BYTES => {
                    return stream.write_all(b"-ERR Protocol error: too big request\r\n");
                }
                length => input.extend_from_slice(&bytes[..length]),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_inline_commands_are_legacy_and_the_framing_byte_is_not() {
        for resp in [&b"*1\r\n"[..], b"PING\r\n", b"\"PING\"\r\n", b"\r\n", b" "] {
            assert_eq!(detect(resp), LegacyClassification::Legacy);
        }
        assert_eq!(detect(b""), LegacyClassification::NeedMoreBytes);
        assert_eq!(detect(&[1]), LegacyClassification::NotLegacy);
        assert_eq!(detect(&[1, b'*', 0, 0, 0]), LegacyClassification::NotLegacy);
    }

    #[test]
    fn a_reply_that_no_frame_carries_becomes_an_error_reply() {
        assert_eq!(fit_frame(b"+OK\r\n".to_vec()), b"+OK\r\n");
        let reply = fit_frame(vec![b'x'; MAX_FRAME_BYTES]);
        assert_eq!(reply, b"-ERR the reply is 16777216 bytes, a frame carries 16777216\r\n");
    }

    /// A stream whose peer has sent `input` and then nothing more.
    struct Peer<'a> {
        input: &'a [u8],
        replies: Vec<u8>,
    }

    impl Read for Peer<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.input.read(bytes)
        }
    }

    impl Write for Peer<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.replies.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_unfinished_request_above_the_limit_ends_the_connection() {
        let header = b"*1\r\n$100000000\r\n";
        let input = [&header[..], &vec![b'x'; MAX_REQUEST_BYTES + 2 * READ_BYTES]].concat();
        let cache = Cache::new();
        let mut session = Session::open(&mut cache.lock());
        let mut peer = Peer { input: &input, replies: Vec::new() };
        answer(&cache, &mut session, &mut peer).expect("the peer reads its replies");
        assert_eq!(peer.replies, b"-ERR Protocol error: too big request\r\n");
    }
}
