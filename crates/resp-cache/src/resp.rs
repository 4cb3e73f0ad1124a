//! RESP2 requests, cut out of a read buffer.
//!
//! [`Parser::parse`] reads one request from the start of the unconsumed bytes: an array of bulk strings, or an inline
//! command, which is a line of words that may be quoted. An incomplete request is a normal outcome.
//!
//! The parser remembers its position, so it reads every byte once, however the request was cut into reads. A new parser
//! on the same bytes gives the same answer.
//!
//! As Redis does, it ignores the byte after a carriage return and the two bytes after a bulk string.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::ops::Range;

/// Largest inline command, and largest line with a count or a length, in bytes before the line end.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;
/// Largest number of arguments of one request.
pub(crate) const MAX_ARGUMENTS: usize = 1024 * 1024;
/// Largest argument in bytes.
pub(crate) const MAX_BULK_BYTES: usize = 512 * 1024 * 1024;

/// One complete request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// The command and its arguments; empty for an empty line or array, which get no reply.
    pub(crate) arguments: Vec<&'a [u8]>,
    /// Number of input bytes that the request takes: `1 <= consumed <= input.len()`.
    pub(crate) consumed: usize,
}

/// The position in an incomplete request. All offsets count from the first byte of that request.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// End of the parsed part: `settled <= searched <= input.len()`.
    settled: usize,
    /// The line from `settled` does not end before this offset.
    searched: usize,
    /// Number of arguments that the array still lacks; 0 between requests.
    missing: usize,
    /// Length of the argument that begins at `settled`, once its header is read: at most [`MAX_BULK_BYTES`].
    bulk: Option<usize>,
    /// The arguments that arrived. An entry of sixteen bytes stands for at least six bytes of input.
    found: Vec<Range<usize>>,
    /// The words of an inline command, without their quotes: at most [`MAX_LINE_BYTES`] bytes.
    unquoted: Vec<u8>,
    #[cfg(test)]
    steps: usize,
}

impl Parser {
    /// Returns the first request of `input`, or `None` if it is incomplete.
    ///
    /// After `None`, the next `input` is the same bytes with more behind them; after a request, the bytes from `consumed`
    /// on.
    ///
    /// Memory grows with the bytes received, never with a claimed count or length. All calls for one request together
    /// take time linear in its number of arguments and the length of its lines, plus a constant for each call. The
    /// length of its bulk strings costs no time.
    ///
    /// # Errors
    ///
    /// The peer violates the protocol, so the start of its next request is unknown. The caller answers
    /// [`RespError::text`] and closes.
    pub(crate) fn parse<'a>(&'a mut self, input: &'a [u8]) -> Result<Option<Request<'a>>, RespError> {
        if self.missing == 0 {
            match input.first() {
                None => return Ok(None),
                Some(b'*') => match self.count(input)? {
                    None => return Ok(None),
                    Some(0) => return Ok(Some(self.array(input))),
                    Some(count) => self.missing = count,
                },
                Some(_) => return self.inline(input),
            }
        }
        while self.missing > 0 {
            let Some(argument) = self.argument(input)? else { return Ok(None) };
            self.found.push(argument);
            self.missing -= 1;
        }
        Ok(Some(self.array(input)))
    }

    /// Parses the header of an array and returns its count, 0 for a negative one.
    fn count(&mut self, input: &[u8]) -> Result<Option<usize>, RespError> {
        let Some(line) = self.header(input, RespError::CountTooLong)? else { return Ok(None) };
        let count = integer(&line[1..]).ok_or(RespError::InvalidCount)?;
        match usize::try_from(count.max(0)) {
            Ok(count) if count <= MAX_ARGUMENTS => Ok(Some(count)),
            _ => Err(RespError::InvalidCount),
        }
    }

    /// Parses one bulk string of an array and returns the range of its content once all of it has arrived.
    fn argument(&mut self, input: &[u8]) -> Result<Option<Range<usize>>, RespError> {
        #[cfg(test)]
        (self.steps += 1);
        let len = match self.bulk {
            Some(len) => len,
            None => {
                let Some(line) = self.header(input, RespError::LengthTooLong)? else { return Ok(None) };
                let digits = match line.first() {
                    Some(b'$') => &line[1..],
                    // The line is empty, so its carriage return stands in the place of the kind.
                    other => return Err(RespError::ExpectedBulk(*other.unwrap_or(&b'\r'))),
                };
                match integer(digits).map(usize::try_from) {
                    Some(Ok(len)) if len <= MAX_BULK_BYTES => *self.bulk.insert(len),
                    _ => return Err(RespError::InvalidLength),
                }
            }
        };
        if input.len() - self.settled < len + 2 {
            return Ok(None);
        }
        let content = self.settled..self.settled + len;
        self.bulk = None;
        self.settle(content.end + 2);
        Ok(Some(content))
    }

    /// Returns the request with the arguments in `found` and resets the parser for the next one.
    fn array<'a>(&mut self, input: &'a [u8]) -> Request<'a> {
        let consumed = mem::take(&mut self.settled);
        self.searched = 0;
        Request {
            arguments: mem::take(&mut self.found).into_iter().map(|range| &input[range]).collect(),
            consumed,
        }
    }

    /// Parses an inline command.
    fn inline<'a>(&'a mut self, input: &[u8]) -> Result<Option<Request<'a>>, RespError> {
        let Some(end) = self.line_end(input, b'\n', RespError::InlineTooBig)? else { return Ok(None) };
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        self.unquoted.clear();
        let words = split_words(line, &mut self.unquoted).ok_or(RespError::UnbalancedQuotes)?;
        self.searched = 0;
        let arguments = words.into_iter().map(|range| &self.unquoted[range]).collect();
        Ok(Some(Request { arguments, consumed: end + 1 }))
    }

    /// Parses the line from `settled` to a carriage return, and skips the byte behind it.
    fn header<'a>(&mut self, input: &'a [u8], too_long: RespError) -> Result<Option<&'a [u8]>, RespError> {
        let start = self.settled;
        match self.line_end(input, b'\r', too_long)? {
            Some(end) if end + 1 < input.len() => {
                self.settle(end + 2);
                Ok(Some(&input[start..end]))
            }
            _ => Ok(None),
        }
    }

    /// Returns the end of the line from `settled`.
    ///
    /// A line that is too long is refused even if its end has arrived, so that the result does not depend on how the
    /// bytes were cut into reads.
    fn line_end(&mut self, input: &[u8], end: u8, too_long: RespError) -> Result<Option<usize>, RespError> {
        let limit = self.settled + MAX_LINE_BYTES + 1;
        let window = &input[self.searched..limit.min(input.len())];
        let found = window.iter().position(|&byte| byte == end);
        let passed = found.unwrap_or(window.len());
        #[cfg(test)]
        (self.steps += passed + 1);
        self.searched += passed;
        match found {
            Some(_) => Ok(Some(self.searched)),
            None if self.searched == limit => Err(too_long),
            None => Ok(None),
        }
    }

    fn settle(&mut self, to: usize) {
        self.settled = to;
        self.searched = to;
    }
}

/// Appends the words of a line to `text` without their quotes, and returns their ranges.
///
/// Returns `None` if a quote is not closed, or closed in the middle of a word.
fn split_words(mut line: &[u8], text: &mut Vec<u8>) -> Option<Vec<Range<usize>>> {
    let mut words = Vec::new();
    while let Some((first, rest)) = line.split_first() {
        if is_space(*first) {
            line = rest;
            continue;
        }
        let start = text.len();
        line = take_word(line, text)?;
        words.push(start..text.len());
    }
    Some(words)
}

/// Appends the first word of `line` to `text` and returns the rest of the line.
fn take_word<'a>(mut line: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        line = match line {
            [] => return Some(line),
            // Vertical tab and form feed separate words, but do not end one.
            [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] => return Some(rest),
            [b'"', rest @ ..] => return take_double_quoted(rest, text),
            [b'\'', rest @ ..] => return take_single_quoted(rest, text),
            [byte, rest @ ..] => {
                text.push(*byte);
                rest
            }
        }
    }
}

fn take_double_quoted<'a>(mut line: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match line {
            [] => return None,
            [b'"', rest @ ..] => return after_quote(rest),
            [b'\\', b'x', high, low, rest @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                (hex(*high)? << 4 | hex(*low)?, rest)
            }
            [b'\\', escaped, rest @ ..] => (unescape(*escaped), rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        text.push(byte);
        line = rest;
    }
}

fn take_single_quoted<'a>(mut line: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match line {
            [] => return None,
            [b'\'', rest @ ..] => return after_quote(rest),
            [b'\\', b'\'', rest @ ..] => (b'\'', rest),
            [byte, rest @ ..] => (*byte, rest),
        };
        text.push(byte);
        line = rest;
    }
}

/// Returns the rest of the line behind a closing quote; `None` if the rest begins with neither a space nor the end.
fn after_quote(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|&next| is_space(next)).then_some(rest)
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Returns whether the byte is white space in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}

/// Parses a decimal integer in canonical form: no plus sign, no leading zeros, no space, no `-0`.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let canonical = match text.strip_prefix(b"-").unwrap_or(text) {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A violation of the protocol by the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RespError {
    /// An inline command is longer than [`MAX_LINE_BYTES`].
    InlineTooBig,
    /// The line of an array's count is longer than [`MAX_LINE_BYTES`].
    CountTooLong,
    /// The count is not an integer, or above [`MAX_ARGUMENTS`].
    InvalidCount,
    /// The line of a bulk string's length is longer than [`MAX_LINE_BYTES`].
    LengthTooLong,
    /// The length is not an integer from 0 to [`MAX_BULK_BYTES`].
    InvalidLength,
    /// An array holds something other than bulk strings. The byte stands in the place of `$`.
    ExpectedBulk(u8),
    /// A quote in an inline command is not closed, or closed in the middle of a word.
    UnbalancedQuotes,
}

impl RespError {
    /// Returns the text of Redis's error reply, without `-ERR`. It may quote a byte that is not UTF-8.
    pub(crate) fn text(self) -> Cow<'static, [u8]> {
        let text: &[u8] = match self {
            Self::InlineTooBig => b"Protocol error: too big inline request",
            Self::CountTooLong => b"Protocol error: too big mbulk count string",
            Self::InvalidCount => b"Protocol error: invalid multibulk length",
            Self::LengthTooLong => b"Protocol error: too big bulk count string",
            Self::InvalidLength => b"Protocol error: invalid bulk length",
            Self::ExpectedBulk(got) => {
                return [b"Protocol error: expected '$', got '", &[got][..], b"'"].concat().into();
            }
            Self::UnbalancedQuotes => b"Protocol error: unbalanced quotes in request",
        };
        text.into()
    }
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

impl std::error::Error for RespError {}

#[cfg(test)]
mod tests;
