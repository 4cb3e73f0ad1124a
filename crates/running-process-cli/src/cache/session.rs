//! A connection of the cache, and a single command in a frame.

use super::commands::{self, Client};
use super::reply;
use super::resp::{Parser, Request};
use super::store::Store;
use std::borrow::Cow;
use std::time::Instant;

/// After this many reply bytes a session pauses, so that short requests for long values cannot pile up
/// replies faster than the peer reads them. A single reply may be longer.
const PAUSE: usize = 256 * 1024;

/// How many expired keys are removed before each command. A command adds at most one key that can expire, so
/// with more than one the number of expired keys that are still held shrinks under load.
const SWEEP: usize = 16;

/// One connection that speaks RESP.
///
/// The owner keeps a read buffer and a write buffer and repeats: append what arrived to the read buffer, call
/// [`Session::receive`], write out the replies, drop the consumed bytes, do as [`Outcome::next`] says.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    parser: Parser,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How many bytes of the input to drop: `consumed <= input.len()`.
    pub(crate) consumed: usize,
    pub(crate) next: Next,
}

/// What the owner of a connection does once the replies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Every complete request was answered: read more.
    Read,
    /// The replies are many: write them before the next call, which needs no new bytes.
    Resume,
    /// The peer quit or broke the protocol: close.
    Close,
}

impl Session {
    pub(crate) fn open(store: &mut Store) -> Self {
        store.stats.connections_received += 1;
        store.stats.connected_clients += 1;
        Self {
            client: Client { id: store.stats.connections_received, ..Client::default() },
            parser: Parser::default(),
        }
    }

    #[expect(clippy::unused_self, reason = "a session is closed once")]
    pub(crate) fn close(self, store: &mut Store) {
        store.stats.connected_clients -= 1;
    }

    /// Answers the complete requests at the start of `input`, in order, appending the replies to `out`.
    ///
    /// `input` is all that was read and not consumed: what the last call left, with new bytes behind it. The
    /// replies and the bytes consumed do not depend on how the input was cut into calls.
    pub(crate) fn receive(
        &mut self,
        store: &mut Store,
        input: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let mut consumed = 0;
        let pause = out.len() + PAUSE;
        let next = loop {
            if out.len() >= pause {
                break Next::Resume;
            }
            match self.parser.parse(&input[consumed..]) {
                Ok(None) => break Next::Read,
                Ok(Some(request)) => {
                    consumed += request.consumed;
                    store.sweep(now, SWEEP);
                    if !request.arguments.is_empty() {
                        commands::execute(store, &mut self.client, &request.arguments, now, out);
                    }
                    if self.client.quit {
                        break Next::Close;
                    }
                }
                Err(error) => {
                    reply::error(out, &error.text());
                    break Next::Close;
                }
            }
        };
        Outcome { consumed, next }
    }
}

/// Answers one command that a frame carries.
///
/// The payload is exactly one request in RESP, an array or an inline command, whose line end may be missing;
/// the result is its RESP reply, which is an error for any other payload. Such a command belongs to no
/// connection: CLIENT speaks of id 0, a name lasts no longer than the call, and QUIT closes nothing.
pub(crate) fn execute_payload(store: &mut Store, payload: &[u8], now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    store.sweep(now, SWEEP);
    let complete = payload.first() == Some(&b'*') || payload.contains(&b'\n');
    let payload: Cow<'_, [u8]> = if complete { payload.into() } else { [payload, b"\n"].concat().into() };
    match Parser::default().parse(&payload) {
        Ok(Some(request)) => match refusal(&request, payload.len()) {
            None => commands::execute(store, &mut Client::default(), &request.arguments, now, &mut out),
            Some(text) => reply::error(&mut out, text.as_bytes()),
        },
        Ok(None) => reply::error(&mut out, b"the payload ends inside its command"),
        Err(error) => reply::error(&mut out, &error.text()),
    }
    out
}

fn refusal(request: &Request<'_>, len: usize) -> Option<String> {
    if request.consumed < len {
        return Some(format!("the command takes {} of the payload's {len} bytes", request.consumed));
    }
    request.arguments.is_empty().then(|| "the payload holds no command".to_owned())
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
