//! The command's cache and the test daemon, fed by socat: by hand, one byte at a time, and through a proxy.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_lifecycle::probe::EndpointProbeChallenge;
use running_process::broker::protocol::{Frame, encode_framed, try_decode_framed};
use running_process_acceptance::wire::{self, SHOUT};
use running_process_acceptance::{Daemon, installed, run};
use std::process::Command;

running_process::register_payload_protocol! {
    const CACHE: u32 = 0xF0CA;
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_length-prefixed-daemon");

fn socat() -> bool {
    installed("socat", &["-V"])
}

/// Returns the answer of `daemon` to `input`, which socat writes in pieces of `piece` bytes and then ends.
#[track_caller]
fn feed(daemon: &Daemon, piece: usize, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("socat");
    // After the end of the input, the answer may take as long as anything in a test.
    command.args(["-t", "20", "-b", &piece.to_string(), "-", &format!("UNIX-CONNECT:{}", daemon.socket)]);
    let output = run(&mut command, input);
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Returns a framed request, and the framed response that carries `answer`.
fn framed(payload_protocol: u32, request: &[u8], answer: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let request = Frame::request(payload_protocol, request.to_vec()).with_request_id(7);
    let response = Frame::response_to(&request, answer.to_vec());
    (encode_framed(&request).unwrap(), encode_framed(&response).unwrap())
}

#[test]
fn the_cache_speaks_resp_typed_by_hand() {
    if !socat() {
        return;
    }
    let cache = Daemon::cache(PROGRAM);
    let array = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\x01\n\r\n";
    for piece in [1, 3, 8192] {
        assert_eq!(feed(&cache, piece, b"PING\r\n"), b"+PONG\r\n");
        assert_eq!(feed(&cache, piece, array), b"+OK\r\n");
        assert_eq!(feed(&cache, piece, b"GET k\r\nDEL k\r\nGET k\r\n"), b"$2\r\n\x01\n\r\n:1\r\n$-1\r\n");
    }
}

#[test]
fn the_cache_speaks_frames_one_byte_at_a_time() {
    if !socat() {
        return;
    }
    let cache = Daemon::cache(PROGRAM);
    for piece in [1, 3, 8192] {
        let (set, set_answer) = framed(CACHE, b"SET k v", b"+OK\r\n");
        let (get, get_answer) = framed(CACHE, b"GET k", b"$1\r\nv\r\n");
        let both = [set, get].concat();
        assert_eq!(feed(&cache, piece, &both), [set_answer, get_answer].concat());
        assert_eq!(feed(&cache, piece, b"GET k\r\n"), b"$1\r\nv\r\n");
    }
}

#[test]
fn a_probe_may_stand_before_either_wire() {
    if !socat() {
        return;
    }
    let cache = Daemon::cache(PROGRAM);
    let challenge = EndpointProbeChallenge::random().unwrap();
    let mut probe = Vec::new();
    challenge.request().encode_framed(&mut probe).unwrap();
    let (request, response) = framed(CACHE, b"PING", b"+PONG\r\n");
    for piece in [1, 8192] {
        for (input, answer) in [(&b"PING\r\n"[..], &b"+PONG\r\n"[..]), (&request, &response)] {
            let output = feed(&cache, piece, &[&probe, input].concat());
            let decoded = try_decode_framed(&output).unwrap().unwrap();
            assert_eq!(challenge.identity(&decoded.frame.borrowed()).unwrap(), cache.identity());
            assert_eq!(&output[decoded.consumed..], answer);
        }
    }
}

#[test]
fn an_ambiguous_wire_is_told_from_frames_one_byte_at_a_time() {
    if !socat() {
        return;
    }
    let daemon = Daemon::length_prefixed(PROGRAM);
    for piece in [1, 7, 8, 8192] {
        for length in [1, 2, 257, 513] {
            let body = vec![b'x'; length];
            let twice = wire::message(&body).repeat(2);
            let answer = wire::message(&body.to_ascii_uppercase()).repeat(2);
            assert_eq!(feed(&daemon, piece, &twice), answer);
            let (request, response) = framed(SHOUT, &body, &body.to_ascii_uppercase());
            assert_eq!(feed(&daemon, piece, &request), response);
        }
    }
}

#[test]
fn the_end_of_the_input_decides_what_seven_bytes_leave_open() {
    if !socat() {
        return;
    }
    let daemon = Daemon::length_prefixed(PROGRAM);
    let header = &wire::message(&[0; 513])[..7];
    assert_eq!(feed(&daemon, 1, header), b"", "a frame that no daemon serves");
    assert_eq!(feed(&daemon, 1, &header[..6]), b"", "half a header");
    assert_eq!(feed(&daemon, 1, &wire::message(b"on")), wire::message(b"ON"));
}
