//! A server's session and a blocking client, driven by one thread, so that the same instructions run each time.

use super::{SERVED, framed};
use running_process::broker::backend_sdk::{
    Answer, Dispatched, FrameClient, HandlerError, Payload, PeerCredentials, RequestParts, ServerBuilder,
    ServerSession, Slot,
};
use running_process::broker::protocol::Endpoint;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

type Handler = fn(&RequestParts) -> Result<Payload, HandlerError>;
type Session = ServerSession<Handler>;

/// The number of requests in flight.
const BATCH: usize = 64;

/// Returns the session of a server that echoes, inline or by a concurrent handler.
fn session(inline: bool) -> Session {
    let endpoint = Endpoint::unix_socket("demo", "/run/user/1000/demo.sock").expect("a path");
    let builder = ServerBuilder::<Handler>::new(endpoint);
    let builder = if inline {
        builder.serve_inline(SERVED, |request| Ok(request.payload().to_vec()))
    } else {
        let echo: Handler = |request| Ok(request.frame().payload.clone().into());
        builder.serve(SERVED, Arc::new(echo))
    };
    let (policy, _registration) = builder.start(Instant::now).expect("nothing is written");
    ServerSession::new(policy, PeerCredentials::current_process(), Slot::Served, Instant::now())
}

/// Serves `received` and passes the output to `write`.
fn serve(
    session: &mut Session,
    queue: &mut Vec<Dispatched<Handler>>,
    received: &[u8],
    now: Instant,
    mut write: impl FnMut(&[u8]),
) {
    session.receive(received, now);
    session.process(|dispatched| queue.push(dispatched));
    for dispatched in queue.drain(..) {
        let call = dispatched.call();
        let answer: Answer = dispatched.serve(|handler, request| handler(&request));
        session.finish(call, answer, now);
    }
    session.write_output(
        || now,
        |slices| {
            slices.iter().for_each(|slice| write(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        },
    );
    black_box(session.next_action());
}

/// Serves 64 requests that come together.
pub fn session_64(inline: bool, count: u64) {
    let requests: Vec<u8> = (1..=BATCH as u64).flat_map(|id| framed(64, id)).collect();
    let (mut session, mut queue) = (session(inline), Vec::with_capacity(BATCH));
    let now = Instant::now();
    for _ in 0..count {
        let mut answered = 0;
        serve(&mut session, &mut queue, black_box(&requests), now, |bytes| answered += bytes.len());
        assert!(answered > BATCH * 64);
    }
}

/// Asks a server `at_once` requests through a socket, and waits for their responses.
pub fn client(at_once: usize, count: u64) {
    let (near, mut far) = UnixStream::pair().expect("two descriptors");
    let (mut client, mut session) = (FrameClient::from_stream(near), session(true));
    let (mut queue, mut bytes, now) = (Vec::new(), vec![0; 64 * 1024], Instant::now());
    let payload = Payload::from(Arc::<[u8]>::from([7; 64]));
    let mut sent = Vec::with_capacity(at_once);
    for _ in 0..count {
        sent.extend((0..at_once).map(|_| client.queue(SERVED, payload.clone()).expect("it fits")));
        client.flush().expect("a server");
        let length = far.read(&mut bytes).expect("a client");
        serve(&mut session, &mut queue, &bytes[..length], now, |bytes| {
            far.write_all(bytes).expect("a client")
        });
        for request in sent.drain(..) {
            black_box(client.wait(request).expect("a response"));
        }
    }
}
