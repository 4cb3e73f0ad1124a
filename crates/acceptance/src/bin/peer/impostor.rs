//! Processes that try to pass for another one, and print what they receive.

use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::{
    endpoint_probe_request_from_frame, endpoint_probe_response_frame,
};
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use running_process::broker::protocol::{Frame, encode_framed, try_decode_framed};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, UCred, sendmsg, shutdown};
use rustix::process::Pid;
use std::fmt::Write as _;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// Replaces the socket at `socket` by a listener of its own, in one step.
pub(crate) fn replace_socket(socket: &Path) -> UnixListener {
    let beside = socket.with_extension(std::process::id().to_string());
    let listener = UnixListener::bind(&beside).unwrap();
    std::fs::rename(&beside, socket).unwrap();
    listener
}

pub(crate) fn listener_from_stdin() -> UnixListener {
    UnixListener::from(io::stdin().as_fd().try_clone_to_owned().unwrap())
}

/// The answers of a peer.
pub(crate) struct Answers<'a> {
    pub(crate) identity: Box<dyn Fn() -> DaemonProcess + Send + Sync>,
    /// The start of the answer to each request.
    pub(crate) token: &'a str,
}

fn recorded(identity_file: &Path) -> Answers<'static> {
    let identity_file = identity_file.to_owned();
    let identity = move || try_read_daemon_identity_file(&identity_file).unwrap().unwrap();
    Answers { identity: Box::new(identity), token: "evil" }
}

/// Answers probes with the identity file, unchanged.
pub(crate) fn replay(listener: &UnixListener, identity_file: &Path) {
    end_with_stdin(listener);
    println!("ready");
    answer_all(listener, &recorded(identity_file));
}

pub(crate) fn replay_on_stdin(identity_file: &Path) {
    let listener = listener_from_stdin();
    println!("ready");
    answer_all(&listener, &recorded(identity_file));
}

/// Answers with the identity file, on the connection that is its standard input.
pub(crate) fn replay_connected(identity_file: &Path) {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let send = |mut stream: &UnixStream, bytes: &[u8]| stream.write_all(bytes);
    answer_stream(&stream, &mut Vec::new(), &recorded(identity_file), send).unwrap();
}

/// Replays the identity, and claims to be the recorded process in the credentials of each message.
pub(crate) fn claim_on_stdin(identity_file: &Path) {
    let listener = listener_from_stdin();
    println!("ready");
    let answers = recorded(identity_file);
    let pid = Pid::from_raw((answers.identity)().pid.cast_signed()).unwrap();
    each(&listener, |stream, log| {
        answer_stream(stream, log, &answers, |stream, bytes| {
            let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmCredentials(UCred { pid, uid, gid })));
            sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        })
    });
}

/// Copies bytes in both directions.
pub(crate) fn proxy(listener: &UnixListener, target: &Path) {
    end_with_stdin(listener);
    println!("ready");
    pass_on(listener, target);
}

pub(crate) fn proxy_on_stdin(target: &Path) {
    let listener = listener_from_stdin();
    println!("ready");
    pass_on(&listener, target);
}

fn pass_on(listener: &UnixListener, target: &Path) {
    each(listener, |client, log| {
        let server = UnixStream::connect(target)?;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Until one of the sides ends.
                let _ = io::copy(&mut &server, &mut &*client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = (&mut &*client).read(&mut bytes) {
                log.extend_from_slice(&bytes[..length]);
                if (&server).write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
            // This ends the other direction, too.
            let _ = server.shutdown(std::net::Shutdown::Both);
        });
        Ok(())
    });
}

/// Listens, leaves the socket to a child that replays the identity file, and ends. The next process with its pid seems
/// to listen.
#[allow(clippy::zombie_processes, reason = "it is to outlive this process")]
pub(crate) fn leave_to_child(socket: &Path, identity_file: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    replay_in_a_child(&std::env::current_exe().unwrap(), socket, identity_file, &listener).spawn().unwrap();
}

/// Returns a command that runs `program` to replay `identity_file` on `listener`.
pub(crate) fn replay_in_a_child(
    program: &Path,
    socket: &Path,
    identity_file: &Path,
    listener: &UnixListener,
) -> Command {
    let mut child = Command::new(program);
    child.arg("replay-inherited").args([socket, identity_file]);
    child.stdin(Stdio::from(listener.as_fd().try_clone_to_owned().unwrap()));
    child
}

/// Answers every connection.
pub(crate) fn answer_all(listener: &UnixListener, answers: &Answers<'_>) {
    each(listener, |stream, log| {
        answer_stream(stream, log, answers, |mut stream, bytes| stream.write_all(bytes))
    });
}

fn answer_stream(
    mut stream: &UnixStream,
    log: &mut Vec<u8>,
    answers: &Answers<'_>,
    send: impl Fn(&UnixStream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = [0; 4096];
    let mut answered = 0;
    loop {
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        log.extend_from_slice(&bytes[..length]);
        while let Some(decoded) = try_decode_framed(&log[answered..]).unwrap() {
            answered += decoded.consumed;
            send(stream, &encode_framed(&answer(&decoded.frame, answers)).unwrap())?;
        }
    }
}

fn answer(frame: &Frame, answers: &Answers<'_>) -> Frame {
    match endpoint_probe_request_from_frame(frame) {
        Ok(probe) => endpoint_probe_response_frame(&probe, &(answers.identity)()),
        Err(_) => Frame::response_to(frame, [answers.token.as_bytes(), b" ", &frame.payload].concat()),
    }
}

/// Handles every connection on a thread of its own, until the listener is shut down and all of them have ended.
fn each(listener: &UnixListener, treat: impl Fn(&UnixStream, &mut Vec<u8>) -> io::Result<()> + Sync) {
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let treat = &treat;
            scope.spawn(move || {
                let mut log = Vec::new();
                // A client may be gone before it is answered.
                let _ = treat(&stream, &mut log);
                // One call, so that lines of several threads do not mix.
                let mut line = String::from("connection ");
                for byte in log {
                    write!(line, "{byte:02x}").unwrap();
                }
                println!("{line}");
            });
        }
    });
}

/// Accepts the connections that already wait, and no others, once the standard input ends.
pub(crate) fn end_with_stdin(listener: &UnixListener) {
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        // Waits for the end of the input.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        shutdown(&listener, Shutdown::Both).unwrap();
    });
}
