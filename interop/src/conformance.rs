//! The conformance protocol of docs/wire.md, as a daemon with its own loop around the mux serves it.

use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use running_process::broker::backend_sdk::MuxPoll;
use running_process::broker::protocol::registry::CONTROL_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{Frame, encode_framed};

use crate::Mux;

running_process::register_payload_protocol! {
    /// The conformance protocol.
    pub const CONFORMANCE: u32 = 0xF0C0;
}

const REQUEST: i32 = 0;
const RESPONSE: i32 = 1;
const EVENT: i32 = 2;
const CANCEL: i32 = 3;
const MAX_EVENTS: u32 = 10_000;

/// Reasons of refusals.
const DEADLINE_PASSED: u8 = 2;
const CANCELLED: u8 = 3;
const BAD_ENCODING: u8 = 5;
const HANDLER_FAILED: u8 = 7;

/// The names of requests that wait or waited; `true` while they wait.
pub type Waits = Arc<Mutex<HashMap<Vec<u8>, bool>>>;

/// Serves a connection to its end.
pub fn serve(mux: &Mux, stream: UnixStream, waits: &Waits) -> Result<(), Box<dyn Error>> {
    let mut connection = Connection { stream, waits, waiting: Vec::new() };
    let ended = connection.run(mux);
    let names: Vec<Vec<u8>> = connection.waiting.drain(..).map(|(_, name)| name).collect();
    names.into_iter().for_each(|name| connection.end_wait(name));
    ended
}

struct Connection<'a> {
    stream: UnixStream,
    waits: &'a Waits,
    /// The requests that wait, each with its name.
    waiting: Vec<(Frame, Vec<u8>)>,
}

impl Connection<'_> {
    fn run(&mut self, mux: &Mux) -> Result<(), Box<dyn Error>> {
        let mut buffer = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match mux.poll(&buffer)? {
                MuxPoll::NeedMoreBytes => match self.read(&mut chunk)? {
                    0 => return Ok(()),
                    n => buffer.extend_from_slice(&chunk[..n]),
                },
                MuxPoll::ProbeAnswered { reply, consumed } => {
                    self.stream.write_all(&reply)?;
                    buffer.drain(..consumed);
                }
                MuxPoll::Payload { frame, consumed } => {
                    buffer.drain(..consumed);
                    // The mux hands over every frame of a served protocol.
                    match frame.kind {
                        _ if frame.envelope_version != 1 => return Err("another envelope version".into()),
                        REQUEST => self.request(frame)?,
                        CANCEL => self.cancel(frame.request_id)?,
                        RESPONSE | EVENT => {}
                        _ => return Err("an unknown kind".into()),
                    }
                }
                MuxPoll::Legacy => return Ok(()),
            }
        }
    }

    /// Reads once, and refuses requests whose deadline passes meanwhile.
    fn read(&mut self, chunk: &mut [u8]) -> Result<usize, Box<dyn Error>> {
        loop {
            let deadlines = self.waiting.iter().map(|(request, _)| request.deadline_unix_ms);
            let next = deadlines.filter(|deadline| *deadline != 0).min();
            let now = unix_ms()?;
            let left = next.map(|next| Duration::from_millis(next.saturating_sub(now).max(1)));
            self.stream.set_read_timeout(left)?;
            match self.stream.read(chunk) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let now = unix_ms()?;
                    self.end_waits(DEADLINE_PASSED, b"the deadline has passed", |request| {
                        (1..=now).contains(&request.deadline_unix_ms)
                    })?;
                }
                read => return Ok(read?),
            }
        }
    }

    fn request(&mut self, request: Frame) -> Result<(), Box<dyn Error>> {
        if request.payload_encoding != 0 {
            return self.refuse(&request, BAD_ENCODING, b"no encodings are known");
        }
        if (1..=unix_ms()?).contains(&request.deadline_unix_ms) {
            return self.refuse(&request, DEADLINE_PASSED, b"the deadline has passed");
        }
        let payload = request.payload.clone();
        let Some(space) = payload.iter().position(|byte| *byte == b' ') else {
            return self.refuse(&request, HANDLER_FAILED, b"the request has no space");
        };
        let argument = &payload[space + 1..];
        match &payload[..space] {
            b"echo" => self.respond(&request, argument),
            b"events" => {
                let count = std::str::from_utf8(argument).ok().and_then(|count| count.parse().ok());
                let Some(count) = count.filter(|count| *count <= MAX_EVENTS) else {
                    return self.refuse(&request, HANDLER_FAILED, b"no number of events");
                };
                for number in 0..count {
                    let event = Frame::response_to(&request, number.to_string().into_bytes());
                    self.write(&Frame { kind: EVENT, ..event })?;
                }
                self.respond(&request, count.to_string().as_bytes())
            }
            b"wait" => {
                self.names(|names| names.insert(argument.to_vec(), true));
                self.waiting.push((request, argument.to_vec()));
                Ok(())
            }
            b"ended" => {
                let state = match self.names(|names| names.get(argument).copied()) {
                    Some(true) => "waiting",
                    Some(false) => "cancelled",
                    None => "unknown",
                };
                self.respond(&request, state.as_bytes())
            }
            b"fail" => self.refuse(&request, HANDLER_FAILED, argument),
            _ => self.refuse(&request, HANDLER_FAILED, b"the request is not known"),
        }
    }

    fn cancel(&mut self, id: u64) -> Result<(), Box<dyn Error>> {
        self.end_waits(CANCELLED, b"cancelled", |request| request.request_id == id)
    }

    /// Refuses the requests that wait and for which `ends` is true.
    fn end_waits(
        &mut self,
        reason: u8,
        message: &[u8],
        ends: impl Fn(&Frame) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        while let Some(at) = self.waiting.iter().position(|(request, _)| ends(request)) {
            let (request, name) = self.waiting.remove(at);
            self.end_wait(name);
            self.refuse(&request, reason, message)?;
        }
        Ok(())
    }

    fn end_wait(&self, name: Vec<u8>) {
        self.names(|names| names.insert(name, false));
    }

    fn names<T>(&self, change: impl FnOnce(&mut HashMap<Vec<u8>, bool>) -> T) -> T {
        change(&mut self.waits.lock().expect("no thread panics with the names"))
    }

    fn respond(&mut self, request: &Frame, payload: &[u8]) -> Result<(), Box<dyn Error>> {
        self.write(&Frame::response_to(request, payload.to_vec()))
    }

    /// Answers with a refusal, which no published version has a name for: the reason at tag 1000, the message at tag 1001.
    fn refuse(&mut self, request: &Frame, reason: u8, message: &[u8]) -> Result<(), Box<dyn Error>> {
        let message = &message[..message.len().min(100)];
        let payload = [&[0xc0, 0x3e, reason, 0xca, 0x3e, message.len() as u8], message].concat();
        let refusal = Frame::response_to(request, payload);
        self.write(&Frame { payload_protocol: CONTROL_PAYLOAD_PROTOCOL, ..refusal })
    }

    fn write(&mut self, frame: &Frame) -> Result<(), Box<dyn Error>> {
        Ok(self.stream.write_all(&encode_framed(frame)?)?)
    }
}

fn unix_ms() -> Result<u64, Box<dyn Error>> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
