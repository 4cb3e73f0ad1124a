//! Requests whose every byte, and that of their answers, follows from their number.
//!
//! ```text
//! request   number u64 | microseconds u32 | length of the answer u32 | mode u8 | bytes of the number
//! answer    number u64 | pid u32 | bytes of the number's complement
//! ```

use crate::random;
use std::time::Duration;

running_process::register_payload_protocol! {
    /// The protocol of requests that a handler serves.
    pub(crate) const WORK: u32 = 0xF0DA;
    /// The protocol of the same requests, served inline.
    pub(crate) const QUICK: u32 = 0xF0DB;
}

/// Length of the head of a request, in bytes.
const HEAD: usize = 17;
/// Length of the head of an answer, in bytes.
const ANSWER_HEAD: usize = 12;
/// Length of the file that answers a request of [`Mode::File`], in bytes.
pub(crate) const FILE_LENGTH: usize = 200_000;
/// The number whose bytes are in that file.
const FILE_NUMBER: u64 = 0xF11E;
/// Length of what the pipe of a request of [`Mode::Pipe`] has, in bytes.
const PIPE_LENGTH: usize = 3000;

/// The kind of the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    Bytes = 0,
    /// The request has a pipe, which the daemon reads and checks.
    Pipe = 1,
    /// The answer is a file.
    File = 2,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// 0 for a request that is not recorded.
    pub(crate) number: u64,
    /// The time that its handler waits.
    pub(crate) time: Duration,
    pub(crate) request: usize,
    pub(crate) answer: usize,
    pub(crate) mode: Mode,
}

impl Work {
    pub(crate) fn payload(self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(HEAD + self.request);
        payload.extend(self.number.to_le_bytes());
        payload.extend(u32::try_from(self.time.as_micros()).unwrap().to_le_bytes());
        payload.extend(u32::try_from(self.answer).unwrap().to_le_bytes());
        payload.push(self.mode as u8);
        fill(&mut payload, self.number, self.request);
        payload
    }

    /// Returns the request with this payload, or the reason why it is none.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        let (head, bytes) = payload.split_at_checked(HEAD).ok_or("the head is cut")?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let number = u64::from_le_bytes(head[..8].try_into().unwrap());
        let mode = match head[16] {
            0 => Mode::Bytes,
            1 => Mode::Pipe,
            2 => Mode::File,
            mode => return Err(format!("mode {mode}")),
        };
        check(bytes, number).map_err(|at| format!("request {number} is wrong at {at}"))?;
        Ok(Self {
            number,
            time: Duration::from_micros(u32_at(8).into()),
            request: bytes.len(),
            answer: u32_at(12) as usize,
            mode,
        })
    }

    /// Returns the answer of this process.
    pub(crate) fn answer(self) -> Vec<u8> {
        let mut answer = Vec::with_capacity(ANSWER_HEAD + self.answer);
        answer.extend(self.number.to_le_bytes());
        answer.extend(std::process::id().to_le_bytes());
        fill(&mut answer, !self.number, self.answer);
        answer
    }

    /// Returns the process that has answered so, 0 if the answer does not tell it; or why the answer is wrong.
    pub(crate) fn check(self, answer: &[u8]) -> Result<u32, String> {
        if self.mode == Mode::File {
            if answer.len() != FILE_LENGTH {
                return Err(format!("a file of {} bytes", answer.len()));
            }
            return check(answer, FILE_NUMBER).map(|()| 0).map_err(|at| format!("the file is wrong at {at}"));
        }
        let (head, bytes) = answer.split_at_checked(ANSWER_HEAD).ok_or("the answer's head is cut")?;
        let number = u64::from_le_bytes(head[..8].try_into().unwrap());
        if number != self.number {
            return Err(format!("the answer of request {number}"));
        }
        if bytes.len() != self.answer {
            return Err(format!("{} bytes instead of {}", bytes.len(), self.answer));
        }
        check(bytes, !number).map_err(|at| format!("the answer is wrong at {at}"))?;
        Ok(u32::from_le_bytes(head[8..].try_into().unwrap()))
    }

    /// Returns what the pipe of this request has.
    pub(crate) fn in_pipe(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PIPE_LENGTH);
        fill(&mut bytes, self.number ^ 1, PIPE_LENGTH);
        bytes
    }
}

/// Returns the content of the file.
pub(crate) fn file() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_LENGTH);
    fill(&mut bytes, FILE_NUMBER, FILE_LENGTH);
    bytes
}

fn fill(bytes: &mut Vec<u8>, number: u64, length: usize) {
    let (mut state, end) = (number, bytes.len() + length);
    while bytes.len() < end {
        let word = random::next(&mut state).to_le_bytes();
        bytes.extend(&word[..word.len().min(end - bytes.len())]);
    }
}

/// Returns the place of the first word that is not of `number`.
fn check(bytes: &[u8], number: u64) -> Result<(), usize> {
    let mut state = number;
    let is_wrong = |chunk: &[u8]| chunk != &random::next(&mut state).to_le_bytes()[..chunk.len()];
    bytes.chunks(8).position(is_wrong).map_or(Ok(()), |word| Err(word * 8))
}
