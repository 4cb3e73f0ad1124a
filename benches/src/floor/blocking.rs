//! Blocking sockets that echo. The server has a thread for each connection.

use super::wire::{self, Poll};
use crate::party::{
    Client, EVENT, EVENTS, EVENTS_REQUEST, Exchange, LARGEST, PROTOCOL, RECEIVED, Server, blocking, large,
};
use crate::scratch::Scratch;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The size of a read, in bytes.
pub const READ: usize = 64 * 1024;

/// Serves every connection with `serve`, each on a thread of its own.
pub fn serve_each(
    socket: &Path,
    ready: impl FnOnce(),
    serve: impl Fn(UnixStream) -> io::Result<()> + Copy + Send + 'static,
) {
    let listener = UnixListener::bind(socket).expect("a free path");
    ready();
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(stream));
    }
}

/// Echoes all bytes.
pub fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// Answers each read with the large response, from where it lies in memory.
pub fn answer_large(mut stream: UnixStream) -> io::Result<()> {
    let mut request = [0; 64];
    while stream.read(&mut request)? > 0 {
        stream.write_all(large())?;
    }
    Ok(())
}

/// Answers each of the largest requests with a few bytes.
pub fn receive_largest(mut stream: UnixStream) -> io::Result<()> {
    let mut request = vec![0; LARGEST];
    loop {
        stream.read_exact(&mut request)?;
        stream.write_all(RECEIVED)?;
    }
}

/// Answers each read with all events.
pub fn send_events(mut stream: UnixStream) -> io::Result<()> {
    let (mut request, mut output) = ([0; 256], vec![0; READ]);
    while stream.read(&mut request)? > 0 {
        let mut filled = 0;
        for _ in 0..EVENTS {
            if filled + 2 * EVENT.len() > READ {
                stream.write_all(&output[..filled])?;
                filled = 0;
            }
            filled += wire::encode(&mut output[filled..], 2, PROTOCOL, 1, &EVENT);
        }
        stream.write_all(&output[..filled])?;
    }
    Ok(())
}

/// Answers frames with frames: all frames of a read with a single write.
pub fn answer_frames(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    let (mut held, mut output) = (0, vec![0; 2 * READ]);
    loop {
        let length = stream.read(&mut buffer[held..])?;
        if length == 0 {
            return Ok(());
        }
        held += length;
        let (mut taken, mut answered) = (0, 0);
        while let Poll::Frame(frame, consumed) = wire::poll(&buffer[taken..held], |_| false) {
            answered += wire::encode(&mut output[answered..], 1, PROTOCOL, frame.request_id, frame.payload);
            taken += consumed;
        }
        buffer.copy_within(taken..held, 0);
        held -= taken;
        stream.write_all(&output[..answered])?;
    }
}

/// Exchanges a batch of messages without frames for the batch of answers.
pub fn client(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(
        scratch,
        match exchange {
            Exchange::Echo(_) => "raw",
            Exchange::Large => "raw-large",
            Exchange::Upload => "raw-upload",
        },
    );
    let mut stream = server.connect();
    let requests = exchange.request().repeat(at_once);
    let mut responses = vec![0; exchange.response_length() * at_once];
    blocking(server, move || {
        stream.write_all(&requests).unwrap();
        stream.read_exact(&mut responses).unwrap();
    })
}

/// Exchanges a batch of frames for the batch of answers.
pub fn client_with_frames(scratch: &Scratch, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, "raw-frames");
    let mut stream = server.connect();
    let request = exchange.request();
    let (mut output, mut input) = (vec![0; READ], vec![0; READ]);
    let mut next_id = 0;
    blocking(server, move || {
        let mut asked = 0;
        for _ in 0..at_once {
            next_id += 1;
            asked += wire::encode(&mut output[asked..], 0, PROTOCOL, next_id, &request);
        }
        stream.write_all(&output[..asked]).unwrap();
        let (mut answered, mut held, mut taken) = (0, 0, 0);
        while answered < at_once {
            held += stream.read(&mut input[held..]).unwrap();
            while let Poll::Frame(frame, consumed) = wire::poll(&input[taken..held], |_| false) {
                exchange.check(frame.payload);
                taken += consumed;
                answered += 1;
            }
        }
    })
}

/// Asks for all events and takes them.
pub fn events(scratch: &Scratch) -> Client {
    let server = Server::start(scratch, "raw-events");
    let mut stream = server.connect();
    let mut input = vec![0; READ];
    blocking(server, move || {
        stream.write_all(EVENTS_REQUEST).unwrap();
        let (mut taken, mut held) = (0, 0);
        while taken < EVENTS {
            held += stream.read(&mut input[held..]).unwrap();
            let mut begin = 0;
            while let Poll::Frame(frame, consumed) = wire::poll(&input[begin..held], |_| false) {
                assert_eq!(frame.payload.len(), EVENT.len());
                begin += consumed;
                taken += 1;
            }
            input.copy_within(begin..held, 0);
            held -= begin;
        }
    })
}
