//! Clients on bare sockets, which count each answer: of frames, and of the legacy wire.

use super::clients::{Asked, Clients, Place};
use super::failure::Failure;
use crate::random::Random;
use crate::work::{QUICK, WORK};
use running_process::broker::protocol::{Frame, FrameKind, encode_framed, try_decode_framed};
use running_process_acceptance::wire;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// The largest request and answer. So many as are in flight fit the buffers of a socket, which is not read while it is written.
const LARGEST: usize = 300;

fn connect(clients: &Clients, place: Place) -> Result<UnixStream, Failure> {
    let stream = UnixStream::connect(clients.socket(place))?;
    stream.set_read_timeout(Some(clients.patience))?;
    stream.set_write_timeout(Some(clients.patience))?;
    Ok(stream)
}

/// Sends up to 64 frames, cut anywhere, and reads to the end of the stream.
pub(super) fn framed(clients: &Clients, place: Place) {
    let lane = format!("{}/frames", place.name());
    clients.paced(&lane, 0.15, |random| {
        let made = Clients::burst(random);
        let asked: Vec<_> = (0..made).map(|_| clients.ask(&lane, random, made, LARGEST)).collect();
        let mut answers: Vec<Vec<Result<Vec<u8>, Failure>>> = asked.iter().map(|_| Vec::new()).collect();
        let ended = exchange_frames(clients, place, &asked, &mut answers, random);
        for (asked, answers) in asked.iter().zip(answers) {
            let number = asked.work.number;
            let count = answers.len();
            if count > 1 {
                clients.journal.write(format_args!("twice {number} {lane} {count} answers"));
            }
            match (answers.into_iter().next(), &ended) {
                (Some(outcome), _) => clients.ended(&lane, asked, 0, &outcome),
                (None, Err(failure)) => clients.failed(&lane, number, asked.began, 0, failure),
                (None, Ok(())) => {
                    let failure = Failure::of("the stream ended before the answer");
                    clients.failed(&lane, number, asked.began, 0, &failure);
                }
            }
        }
        made
    });
}

fn exchange_frames(
    clients: &Clients,
    place: Place,
    asked: &[Asked],
    answers: &mut [Vec<Result<Vec<u8>, Failure>>],
    random: &mut Random,
) -> Result<(), Failure> {
    let mut stream = connect(clients, place)?;
    let mut bytes = Vec::new();
    for (id, asked) in (1..).zip(asked) {
        let protocol = if asked.work.time.is_zero() && random.once_in(2) { QUICK } else { WORK };
        bytes.extend(encode_framed(&Frame::request(protocol, asked.work.payload()).with_request_id(id))?);
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let cut = if random.once_in(3) { rest.len() } else { 1 + random.index(rest.len()) };
        stream.write_all(&rest[..cut])?;
        rest = &rest[cut..];
    }
    let mut received = Vec::new();
    let mut is_answered = false;
    loop {
        while let Some(decoded) = try_decode_framed(&received)? {
            received.drain(..decoded.consumed);
            let frame = decoded.frame;
            let index = usize::try_from(frame.request_id).ok().and_then(|id| id.checked_sub(1));
            let Some(answers) = index.and_then(|index| answers.get_mut(index)) else {
                return Err(Failure::of(format!("an answer to request {}", frame.request_id)));
            };
            let is_answer =
                frame.kind == FrameKind::Response as i32 && [QUICK, WORK].contains(&frame.payload_protocol);
            answers.push(if is_answer {
                Ok(frame.payload)
            } else {
                Err(Failure::of(format!("kind {} of protocol {:x}", frame.kind, frame.payload_protocol)))
            });
        }
        if !is_answered && answers.iter().all(|answers| !answers.is_empty()) {
            is_answered = true;
            stream.shutdown(Shutdown::Write)?;
        }
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => received.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Sends messages of the legacy wire one after the other, and reads to the end of the stream.
pub(super) fn legacy(clients: &Clients, place: Place) {
    let lane = format!("{}/legacy", place.name());
    clients.paced(&lane, 0.1, |random| {
        let made = 1 + random.index(8);
        let asked: Vec<_> = (0..made).map(|_| clients.ask(&lane, random, made, 20_000)).collect();
        let mut answered = 0;
        let ended = exchange_messages(clients, place, &asked, |asked, answer| {
            clients.ended(&lane, asked, 0, &Ok(answer));
            answered += 1;
        });
        match ended {
            Ok(0) => {}
            Ok(more) => {
                let number = asked[made - 1].work.number;
                clients.journal.write(format_args!("twice {number} {lane} {more} bytes more"));
            }
            Err(failure) => {
                for asked in &asked[answered..] {
                    clients.failed(&lane, asked.work.number, asked.began, 0, &failure);
                }
            }
        }
        made
    });
}

/// Returns the number of bytes behind the last answer.
fn exchange_messages(
    clients: &Clients,
    place: Place,
    asked: &[Asked],
    mut answered: impl FnMut(&Asked, Vec<u8>),
) -> Result<usize, Failure> {
    let mut stream = connect(clients, place)?;
    for asked in asked {
        stream.write_all(&wire::message(&asked.work.payload()))?;
        let answer = wire::read_message(&mut stream)?;
        answered(asked, answer.ok_or_else(|| Failure::of("the stream ended before the answer"))?);
    }
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    Ok(rest.len())
}
