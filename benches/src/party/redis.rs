//! redis-server, if it is installed, over a Unix socket: its own protocol, by hand.

use super::{Client, EVENT, EVENTS, Exchange, Server, blocking, large};
use crate::floor::blocking::READ;
use crate::scratch::Scratch;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

pub const PROGRAM: &str = "redis-server";

/// Starts redis-server and waits until it listens.
pub fn serve(socket: &Path, ready: impl FnOnce()) -> Child {
    let server = Command::new(PROGRAM)
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--maxclients", "16000", "--unixsocket"])
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("it is installed");
    let mut stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.write_all(&command(&[b"SET", b"large", large()])).unwrap();
    stream.read_exact(&mut [0; b"+OK\r\n".len()]).unwrap();
    ready();
    server
}

/// Returns the command that echoes so many bytes.
pub fn echo(size: usize) -> Vec<u8> {
    command(&[b"ECHO", &vec![7; size]])
}

fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(&bulk(argument));
    }
    bytes
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends a batch of commands, then reads the batch of answers, as redis-benchmark does.
pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "redis");
    let mut stream = server.connect();
    let (request, expected) = match exchange {
        Exchange::Echo(size) => (echo(size), bulk(&vec![7; size])),
        Exchange::Large => (command(&[b"GET", b"large"]), bulk(large())),
        Exchange::Upload => (command(&[b"SET", b"upload", &exchange.request()]), b"+OK\r\n".to_vec()),
    };
    let (requests, mut responses) = (request.repeat(at_once), vec![0; expected.len() * at_once]);
    blocking(server, move || {
        stream.write_all(&requests).unwrap();
        stream.read_exact(&mut responses).unwrap();
        let beginning = expected.len().min(16);
        assert_eq!(responses[..beginning], expected[..beginning]);
    })
}

/// The channel of the events.
const CHANNEL: &[u8] = b"events";

/// Publishes all events on one connection and takes them on another one, which has subscribed.
pub fn events(scratch: &Scratch) -> Client {
    let server = Server::start(scratch, "redis");
    let (mut publisher, mut subscriber) = (server.connect(), server.connect());
    subscriber.write_all(&command(&[b"SUBSCRIBE", CHANNEL])).unwrap();
    let confirmation = [b"*3\r\n", &bulk(b"subscribe")[..], &bulk(CHANNEL), b":1\r\n"].concat();
    subscriber.read_exact(&mut vec![0; confirmation.len()]).unwrap();
    let commands = command(&[b"PUBLISH", CHANNEL, &EVENT]).repeat(EVENTS);
    let mut answers = vec![0; b":1\r\n".len() * EVENTS];
    let push = [b"*3\r\n", &bulk(b"message")[..], &bulk(CHANNEL), &bulk(&EVENT)].concat();
    let (mut input, mut held) = (vec![0; READ], 0);
    blocking(server, move || {
        // It keeps what its peers do not read yet.
        publisher.write_all(&commands).unwrap();
        let mut taken = 0;
        while taken < EVENTS {
            held += subscriber.read(&mut input[held..]).unwrap();
            let pushes = input[..held].chunks_exact(push.len());
            let rest = pushes.remainder().len();
            taken += pushes.inspect(|one| assert_eq!(**one, push)).count();
            input.copy_within(held - rest..held, 0);
            held = rest;
        }
        publisher.read_exact(&mut answers).unwrap();
    })
}
