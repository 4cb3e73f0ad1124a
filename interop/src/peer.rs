//! One program, compiled once for every implementation of the library: each published version under test, and ours.
//!
//! It uses nothing but names that all of them share, so the source itself shows that a program written against a
//! published version compiles unchanged against ours. Output is one line for each step, so that a test can compare.
//!
//! | command | what it does |
//! | --- | --- |
//! | `daemon SOCKET IDENTITY_FILE` | serves `pong:` at SOCKET, until standard input ends |
//! | `daemon SOCKET IDENTITY_FILE conformance` | the same, but serves the conformance protocol, to be judged by `running-process conform` |
//! | `service SOCKET IDENTITY_FILE` | the same, until a signal ends it |
//! | `replay SOCKET IDENTITY_FILE` | the same, but claims the identity found in the file: an impostor |
//! | `client IDENTITY_FILE` | reads the file, proves the daemon, sends requests |
//! | `refused IDENTITY_FILE` | sends a request that the daemon refuses, and goes on: on that connection, and on a new one |
//! | `rewrite FROM TO` | reads one identity file and writes what it understood to another |
//! | `mux IDENTITY_FILE` | answers each line of hexadecimal bytes on standard input with what the mux makes of it |

mod conformance;

use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_sdk::{
    BackendEndpointMux, FrameClient, LegacyClassification, MuxError, MuxPoll, read_daemon_identity_file,
    remove_daemon_identity_file, try_read_daemon_identity_file, write_daemon_identity_file,
};
use running_process::broker::protocol::registry::CONTROL_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{Endpoint, Frame, encode_framed, try_decode_framed};

running_process::register_payload_protocol! {
    /// The payload protocol that the daemon serves.
    pub const PING: u32 = 0x7A63;
}

/// The start of this program's legacy messages: like a frame, as far as one byte tells.
const LEGACY: &[u8] = b"\x01old";
/// Longer than any socket buffer, so that both sides see it in many reads.
const LARGE: usize = 3 << 20;

/// The request that the daemon refuses.
const REFUSED: &[u8] = b"refuse";
/// A refusal's payload: the reason, overloaded, at tag 1000.
const REFUSAL: &[u8] = b"\xc0\x3e\x01";

type Mux = BackendEndpointMux<fn(&[u8]) -> LegacyClassification>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["daemon", socket, file] => daemon(socket, Path::new(file), until_stdin_ends),
        ["daemon", socket, file, "conformance"] => judged(socket, Path::new(file)),
        ["service", socket, file] => daemon(socket, Path::new(file), until_killed),
        ["replay", socket, file] => replay(socket, Path::new(file)),
        ["client", file] => client(Path::new(file)),
        ["refused", file] => refused(Path::new(file)),
        ["rewrite", from, to] => rewrite(Path::new(from), Path::new(to)),
        ["mux", file] => mux(Path::new(file)),
        _ => Err("usage: daemon SOCKET FILE [conformance] | service SOCKET FILE | replay SOCKET FILE | client FILE | refused FILE | \
                  rewrite FROM TO | mux FILE"
            .into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("failed {message}");
            ExitCode::FAILURE
        }
    }
}

/// The step that failed, and why.
type Outcome = Result<(), String>;

fn step<T, E: std::fmt::Display>(name: &str, result: Result<T, E>) -> Result<T, String> {
    let value = result.map_err(|error| format!("{name}: {error}"))?;
    println!("ok {name}");
    Ok(value)
}

fn daemon(socket: &str, file: &Path, until: fn()) -> Outcome {
    let listener = step("bind", UnixListener::bind(socket))?;
    let endpoint = step("endpoint", Endpoint::unix_socket("interop", socket))?;
    let identity = step("identity", DaemonProcess::current_process(endpoint, Some(60)))?;
    step("write", write_daemon_identity_file(file, &identity))?;
    serve_in_background(listener, identity);
    until();
    remove_daemon_identity_file(file);
    Ok(())
}

fn judged(socket: &str, file: &Path) -> Outcome {
    let listener = step("bind", UnixListener::bind(socket))?;
    let endpoint = step("endpoint", Endpoint::unix_socket("interop", socket))?;
    let identity = step("identity", DaemonProcess::current_process(endpoint, Some(60)))?;
    step("write", write_daemon_identity_file(file, &identity))?;
    let mux: Mux =
        BackendEndpointMux::new(identity, &[conformance::CONFORMANCE], |_| LegacyClassification::NotLegacy);
    let waits = conformance::Waits::default();
    in_background(listener, move |stream| conformance::serve(&mux, stream, &waits));
    until_stdin_ends();
    remove_daemon_identity_file(file);
    Ok(())
}

fn replay(socket: &str, file: &Path) -> Outcome {
    let identity = step("read", read_daemon_identity_file(file).ok_or("no usable identity file"))?;
    let listener = step("bind", UnixListener::bind(socket))?;
    serve_in_background(listener, identity);
    until_stdin_ends();
    Ok(())
}

fn client(file: &Path) -> Outcome {
    let daemon = step("read", read_daemon_identity_file(file).ok_or("no usable identity file"))?;
    let handle =
        step("probe", BackendHandle::probe_with_service("interop", "1.0.0", &daemon.ipc_endpoint, &daemon))?;
    println!("alive {}", handle.is_alive());
    // One published signature takes `&mut self`: the binding must stay mutable to compile against all of them.
    #[allow(unused_mut)]
    let mut frames = step("connect", FrameClient::connect(&daemon.ipc_endpoint))?;
    for round in 0..3 {
        let reply = step("request", frames.request(PING, format!("ping {round}").into_bytes()))?;
        println!("reply {}", String::from_utf8_lossy(&reply.payload));
    }
    let large = vec![0x5a; LARGE];
    let reply = step("large", frames.request(PING, large.clone()))?;
    match reply.payload.strip_prefix(b"pong:") {
        Some(echo) if echo == large => Ok(()),
        _ => Err(format!("large: the reply of {} bytes is not the echo", reply.payload.len())),
    }
}

fn refused(file: &Path) -> Outcome {
    let daemon = step("read", read_daemon_identity_file(file).ok_or("no usable identity file"))?;
    #[allow(unused_mut)]
    let mut frames = step("connect", FrameClient::connect(&daemon.ipc_endpoint))?;
    for (connection, payload) in [("first", REFUSED), ("same", b"ping")] {
        match frames.request(PING, payload.to_vec()) {
            Ok(reply) => println!("{connection}: {}", String::from_utf8_lossy(&reply.payload)),
            Err(error) => println!("{connection}: {error}"),
        }
    }
    #[allow(unused_mut)]
    let mut frames = step("connect", FrameClient::connect(&daemon.ipc_endpoint))?;
    let reply = step("request", frames.request(PING, b"ping".to_vec()))?;
    println!("new: {}", String::from_utf8_lossy(&reply.payload));
    Ok(())
}

fn rewrite(from: &Path, to: &Path) -> Outcome {
    let identity = step("read", try_read_daemon_identity_file(from))?;
    let identity = identity.ok_or("read: no file")?;
    step("write", write_daemon_identity_file(to, &identity))
}

fn mux(file: &Path) -> Outcome {
    let identity = step("read", read_daemon_identity_file(file).ok_or("no usable identity file"))?;
    let mux = mux_for(identity);
    for line in io::stdin().lock().lines() {
        let bytes = line.ok().as_deref().and_then(from_hex).ok_or("mux: a line is not hexadecimal")?;
        println!("{}", describe(&mux.poll(&bytes)));
    }
    Ok(())
}

fn mux_for(identity: DaemonProcess) -> Mux {
    let is_legacy: fn(&[u8]) -> LegacyClassification = |bytes| {
        if bytes.starts_with(LEGACY) {
            LegacyClassification::Legacy
        } else if LEGACY.starts_with(bytes) {
            LegacyClassification::NeedMoreBytes
        } else {
            LegacyClassification::NotLegacy
        }
    };
    BackendEndpointMux::new(identity, &[PING], is_legacy)
}

fn serve_in_background(listener: UnixListener, identity: DaemonProcess) {
    let mux = mux_for(identity);
    in_background(listener, move |stream| serve(&mux, stream));
}

/// Serves each connection on a thread of its own.
fn in_background<F>(listener: UnixListener, serve: F)
where
    F: Fn(UnixStream) -> Result<(), Box<dyn std::error::Error>> + Send + Sync + 'static,
{
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || {
                if let Err(error) = serve(stream) {
                    eprintln!("connection dropped: {error}");
                }
            });
        }
    });
    println!("ready");
}

fn until_stdin_ends() {
    // An error here means the same as the end: the other end is closed.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}

fn until_killed() {
    loop {
        thread::park();
    }
}

/// Runs the loop that a daemon with its own loop writes around the mux.
fn serve(mux: &Mux, mut stream: UnixStream) -> Result<(), Box<dyn std::error::Error>> {
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match mux.poll(&buffer)? {
            MuxPoll::NeedMoreBytes => match stream.read(&mut chunk)? {
                0 => return Ok(()),
                n => buffer.extend_from_slice(&chunk[..n]),
            },
            MuxPoll::ProbeAnswered { reply, consumed } => {
                stream.write_all(&reply)?;
                buffer.drain(..consumed);
            }
            MuxPoll::Payload { frame, consumed } if frame.payload == REFUSED => {
                let refusal = Frame::response_to(&frame, REFUSAL.to_vec());
                let refusal = Frame { payload_protocol: CONTROL_PAYLOAD_PROTOCOL, ..refusal };
                stream.write_all(&encode_framed(&refusal)?)?;
                buffer.drain(..consumed);
            }
            MuxPoll::Payload { frame, consumed } => {
                let pong = [b"pong:", &frame.payload[..]].concat();
                stream.write_all(&encode_framed(&Frame::response_to(&frame, pong))?)?;
                buffer.drain(..consumed);
            }
            MuxPoll::Legacy => {
                stream.write_all(b"legacy\n")?;
                return Ok(());
            }
        }
    }
}

/// Formats all that a caller can see on one line, but for the identity inside a probe's reply and the wording of errors.
fn describe(poll: &Result<MuxPoll, MuxError>) -> String {
    match poll {
        Ok(MuxPoll::NeedMoreBytes) => "need more bytes".into(),
        Ok(MuxPoll::Legacy) => "legacy".into(),
        Ok(MuxPoll::Payload { frame, consumed }) => {
            format!("payload of {consumed}: {}", describe_frame(frame, frame.payload.len()))
        }
        Ok(MuxPoll::ProbeAnswered { reply, consumed }) => match try_decode_framed(reply) {
            Ok(Some(decoded)) if decoded.consumed == reply.len() => {
                format!("probe of {consumed} answered: {}", describe_frame(&decoded.frame, 32))
            }
            other => format!("probe of {consumed} answered with no single frame: {other:?}"),
        },
        Err(MuxError::Framing(_)) => "error framing".into(),
        Err(MuxError::MalformedProbe(_)) => "error malformed probe".into(),
        Err(MuxError::UnexpectedFirstPartyFrame { payload_protocol }) => {
            format!("error first-party {payload_protocol:#06x}")
        }
        Err(MuxError::UnservedPayloadProtocol { payload_protocol }) => {
            format!("error unserved {payload_protocol:#06x}")
        }
    }
}

fn describe_frame(frame: &Frame, payload_bytes: usize) -> String {
    let mut payload = String::new();
    for byte in frame.payload.iter().take(payload_bytes) {
        let _ = write!(payload, "{byte:02x}");
    }
    format!(
        "version {} kind {} protocol {:#06x} id {} encoding {} deadline {} trace {:?} {:?} payload {payload}",
        frame.envelope_version,
        frame.kind,
        frame.payload_protocol,
        frame.request_id,
        frame.payload_encoding,
        frame.deadline_unix_ms,
        frame.traceparent,
        frame.tracestate,
    )
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits?;
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
