//! One RESP connection, and one command in a frame.

use crate::commands::{self, Client};
use crate::reply;
use crate::resp::{Parser, Request};
use crate::store::Store;
use std::borrow::Cow;
use std::time::Instant;

/// Number of reply bytes after which a session pauses. A single reply may be longer.
///
/// The pause bounds the replies that short requests for long values can buffer before the peer has read any.
const PAUSE_BYTES: usize = 256 * 1024;

/// Number of expired keys removed before each command.
///
/// A command adds at most one key that can expire, so any number above one makes the rest shrink under load.
const SWEEP_KEYS: usize = 16;

/// One connection that speaks RESP.
///
/// Its owner keeps a read buffer and a write buffer and repeats these steps:
///
/// 1. append the bytes that arrived to the read buffer;
/// 2. call [`Session::receive`] and drop the consumed bytes;
/// 3. write the replies;
/// 4. do what [`Outcome::next`] says.
#[derive(Debug)]
pub struct Session {
    client: Client,
    parser: Parser,
}

/// The result of [`Session::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Number of input bytes to drop: `consumed <= input.len()`.
    pub consumed: usize,
    /// The owner's next action, once the replies are written.
    pub next: Next,
}

/// The next action of a connection's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Read more bytes: every complete request was answered.
    Read,
    /// Call [`Session::receive`] again without new bytes: it paused because the replies are many.
    Resume,
    /// Close the connection: the peer quit or broke the protocol.
    Close,
}

impl Session {
    /// Begins a session and counts it as a connection of `store`.
    pub fn open(store: &mut Store) -> Self {
        store.stats.connections_received += 1;
        store.stats.connected_clients += 1;
        Self {
            client: Client { id: store.stats.connections_received, ..Client::default() },
            parser: Parser::default(),
        }
    }

    /// Ends the session and removes it from the count of connected clients.
    pub fn close(self, store: &mut Store) {
        store.stats.connected_clients -= 1;
    }

    /// Answers the complete requests at the start of `input`, in order, appending the replies to `out`.
    ///
    /// `input` is everything that was read and not consumed: the rest of the last call, then the new bytes. Replies and
    /// consumed bytes do not depend on how the input was cut into calls.
    pub fn receive(&mut self, store: &mut Store, input: &[u8], now: Instant, out: &mut Vec<u8>) -> Outcome {
        let mut consumed = 0;
        let pause = out.len() + PAUSE_BYTES;
        let next = loop {
            if out.len() >= pause {
                break Next::Resume;
            }
            match self.parser.parse(&input[consumed..]) {
                Ok(None) => break Next::Read,
                Ok(Some(request)) => {
                    consumed += request.consumed;
                    store.sweep(now, SWEEP_KEYS);
                    if !request.arguments.is_empty() {
                        commands::execute(store, &mut self.client, &request.arguments, now, out);
                    }
                    if self.client.has_quit {
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

/// Answers the one command that a frame carries.
///
/// The payload is exactly one RESP request: an array, or an inline command, whose line end may be missing. The result is
/// its RESP reply, which is an error for any other payload. The command belongs to no connection: CLIENT ID answers 0, a
/// name ends with the call, and QUIT closes nothing.
#[must_use]
pub fn execute_payload(store: &mut Store, payload: &[u8], now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    store.sweep(now, SWEEP_KEYS);
    let has_line_end = payload.first() == Some(&b'*') || payload.contains(&b'\n');
    let payload: Cow<'_, [u8]> = if has_line_end { payload.into() } else { [payload, b"\n"].concat().into() };
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
mod tests;
