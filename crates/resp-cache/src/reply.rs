//! Replies of RESP2, and of RESP3 where a connection has asked for it, appended to a buffer.

use std::io::Write;

/// The protocol of a connection's replies.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Appends a simple string. `text` is one line.
pub(crate) fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text.as_bytes());
}

/// Appends an error of the general kind, `-ERR`.
///
/// Line breaks in `text` become spaces, so that a quoted argument cannot forge a second reply.
pub(crate) fn error(out: &mut Vec<u8>, text: &[u8]) {
    error_of_kind(out, "ERR", text);
}

/// Appends an error of `kind`, a word that clients tell errors apart by.
pub(crate) fn error_of_kind(out: &mut Vec<u8>, kind: &str, text: &[u8]) {
    out.push(b'-');
    out.extend_from_slice(kind.as_bytes());
    out.push(b' ');
    out.extend(text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// Appends an integer.
pub(crate) fn integer(out: &mut Vec<u8>, value: i64) {
    header(out, b':', value);
}

/// Appends a count as an integer, at most `i64::MAX`.
pub(crate) fn count(out: &mut Vec<u8>, value: usize) {
    integer(out, i64::try_from(value).unwrap_or(i64::MAX));
}

/// Appends a bulk string.
pub(crate) fn bulk(out: &mut Vec<u8>, value: &[u8]) {
    header(out, b'$', value.len());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends null, which stands for a missing key.
pub(crate) fn nil(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// Appends a bulk string, or nil.
pub(crate) fn bulk_or_nil(out: &mut Vec<u8>, protocol: Protocol, value: Option<&[u8]>) {
    match value {
        Some(value) => bulk(out, value),
        None => nil(out, protocol),
    }
}

/// Appends a text for people.
pub(crate) fn verbatim(out: &mut Vec<u8>, protocol: Protocol, text: &str) {
    match protocol {
        Protocol::Resp2 => bulk(out, text.as_bytes()),
        Protocol::Resp3 => {
            header(out, b'=', text.len() + 4);
            line(out, b't', format!("xt:{text}").as_bytes());
        }
    }
}

/// Appends the header of a map. `len` keys with their values must follow.
pub(crate) fn map(out: &mut Vec<u8>, protocol: Protocol, len: usize) {
    match protocol {
        Protocol::Resp2 => array(out, 2 * len),
        Protocol::Resp3 => header(out, b'%', len),
    }
}

/// Appends the header of a set. `len` replies must follow.
pub(crate) fn set(out: &mut Vec<u8>, protocol: Protocol, len: usize) {
    match protocol {
        Protocol::Resp2 => array(out, len),
        Protocol::Resp3 => header(out, b'~', len),
    }
}

/// Appends the header of an array. `len` replies must follow.
pub(crate) fn array(out: &mut Vec<u8>, len: usize) {
    header(out, b'*', len);
}

fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn header(out: &mut Vec<u8>, kind: u8, value: impl std::fmt::Display) {
    out.push(kind);
    write!(out, "{value}\r\n").expect("writing to a Vec does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the RESP2 specification (redis.io, "Redis serialization protocol specification").
    #[test]
    fn every_kind_is_written_as_the_specification_shows_it() {
        let mut out = Vec::new();
        simple(&mut out, "OK");
        error(&mut out, b"unknown command 'asdf'");
        integer(&mut out, -1000);
        count(&mut out, 48293);
        bulk(&mut out, b"hello");
        bulk(&mut out, b"");
        bulk(&mut out, b"\r\n\0");
        nil(&mut out, Protocol::Resp2);
        array(&mut out, 2);
        array(&mut out, 0);
        let expected = b"+OK\r\n-ERR unknown command 'asdf'\r\n:-1000\r\n:48293\r\n$5\r\nhello\r\n$0\r\n\r\n\
            $3\r\n\r\n\0\r\n$-1\r\n*2\r\n*0\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn an_error_stays_on_one_line_whatever_it_quotes() {
        let mut out = Vec::new();
        error(&mut out, b"got 'a\r\n+OK\r\n'");
        assert_eq!(out, b"-ERR got 'a  +OK  '\r\n");
    }
}
