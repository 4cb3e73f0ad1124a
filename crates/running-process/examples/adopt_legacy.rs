//! An existing daemon that keeps its accept loop and its wire, and adopts the mux.
//!
//! ```sh
//! cargo run --example adopt_legacy -- /tmp/shout/daemon.sock /tmp/shout/daemon.json
//! echo hello | socat - UNIX-CONNECT:/tmp/shout/daemon.sock    # its own wire: lines of text
//! cargo run --example client -- /tmp/shout/daemon.json hello  # a probe and a frame on the same socket
//! ```
//!
//! The accept loop in `main` and the function `serve_lines` are the old daemon. The functions `serve` and `answer` are the
//! adoption: they ask the mux about the bytes of a connection. They have no limits and no deadlines; `Server` has both.

use running_process::broker::backend_sdk::{
    LocalListener, LocalStream, MuxPoll, OnTermination, StopSignal, remove_daemon_identity_file,
    write_daemon_identity_file,
};
use running_process::broker::protocol::{EndpointNameError, FrameKind, encode_framed};
use running_process::{BackendEndpointMux, DaemonProcess, Endpoint, Frame, LegacyClassification};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter::successors;
use std::sync::Arc;

running_process::register_payload_protocol! {
    /// A request is a text; its response is the text in capitals.
    const SHOUT: u32 = 0xF00D;
}

/// One mux for all connections.
type Mux = BackendEndpointMux<fn(&[u8]) -> LegacyClassification>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, identity_file] = &arguments[..] else {
        return Err("usage: adopt_legacy SOCKET IDENTITY_FILE".into());
    };
    let listener = LocalListener::bind(socket)?;
    let stop = StopSignal::new()?;
    let stop_on_signal = stop.clone();
    let _signals = OnTermination::new(move || stop_on_signal.stop())?;

    // The identity that probes are answered with, and the file by which clients find the daemon.
    let identity = DaemonProcess::current_process(endpoint(socket)?, None)?;
    write_daemon_identity_file(identity_file.as_ref(), &identity)?;
    let mux = Arc::new(Mux::new(identity, &[SHOUT], detect));

    writeln!(io::stdout(), "ready: process {}", std::process::id())?;
    while let Some(stream) = listener.accept(&stop)? {
        let mux = Arc::clone(&mux);
        std::thread::spawn(move || {
            if let Err(error) = serve(&mux, &stream) {
                let causes = successors(Some(&*error), |&error| error.source());
                let texts: Vec<_> = causes.map(ToString::to_string).collect();
                let _closed = writeln!(io::stderr(), "{}", texts.join(": "));
            }
        });
    }
    remove_daemon_identity_file(identity_file.as_ref());
    Ok(())
}

/// Returns the path of a socket, or on Windows the bare name of a pipe, as an endpoint.
fn endpoint(name: &str) -> Result<Endpoint, EndpointNameError> {
    if cfg!(windows) { Endpoint::windows_pipe("shout", name) } else { Endpoint::unix_socket("shout", name) }
}

/// Classifies nothing as legacy: a line of text never begins with the framing byte 1, and the mux knows the rest.
fn detect(_buffer: &[u8]) -> LegacyClassification {
    LegacyClassification::NotLegacy
}

/// Serves one connection until it ends.
fn serve(mux: &Mux, mut stream: &LocalStream) -> Result<(), Box<dyn Error>> {
    let (mut buffer, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let mut output = Vec::new();
        let (consumed, is_legacy) = answer(mux, &buffer, &mut output)?;
        stream.write_all(&output)?;
        // One `drain` for all messages: moving the rest of the buffer for each message would take quadratic time.
        buffer.drain(..consumed);
        if is_legacy {
            return Ok(serve_lines(&buffer, stream)?);
        }
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            length => buffer.extend_from_slice(&bytes[..length]),
        }
    }
}

/// Answers the complete messages in `buffer`. Returns their length, and whether the bytes behind them are legacy.
fn answer(mux: &Mux, buffer: &[u8], output: &mut Vec<u8>) -> Result<(usize, bool), Box<dyn Error>> {
    let mut position = 0;
    loop {
        match mux.poll(&buffer[position..])? {
            MuxPoll::NeedMoreBytes => return Ok((position, false)),
            MuxPoll::Legacy => return Ok((position, true)),
            MuxPoll::ProbeAnswered { reply, consumed } => {
                output.extend(reply);
                position += consumed;
            }
            MuxPoll::Payload { frame, consumed } => {
                // Each request is answered at once, so a cancel finds nothing to cancel.
                if frame.kind == i32::from(FrameKind::Request) {
                    output.extend(encode_framed(&Frame::response_to(&frame, shout(&frame.payload)))?);
                }
                position += consumed;
            }
        }
    }
}

/// Serves the old wire. `buffer` has the bytes that the mux has looked at.
fn serve_lines(buffer: &[u8], mut stream: &LocalStream) -> io::Result<()> {
    for line in BufReader::new(buffer.chain(stream)).split(b'\n') {
        stream.write_all(&[shout(&line?), b"\n".to_vec()].concat())?;
    }
    Ok(())
}

fn shout(text: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(text).to_uppercase().into_bytes()
}
