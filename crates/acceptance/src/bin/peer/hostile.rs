//! Genuine daemons that misbehave.

use crate::impostor::{listener_from_stdin, replay_in_a_child, replay_on_stdin};
use crate::process_state::{state, write_own_identity};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::{
    endpoint_probe_request_from_frame, endpoint_probe_response_frame,
};
use running_process::broker::backend_sdk::{ConnectError, LocalStream};
use running_process::broker::protocol::{FrameRef, encode_framed, read_frame};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, bind, listen, recv, sendmsg, socket_with,
};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Maximum number of descriptors in one message (`SCM_MAX_FD` in unix(7)).
const MAX_DESCRIPTORS: usize = 253;

/// Writes its identity, and treats every connection as `mode` says.
pub(crate) fn misbehave(mode: &str, socket: &str, identity_file: &Path, argument: Option<&str>) {
    let listener = if mode.ends_with("-inherited") {
        listener_from_stdin()
    } else {
        end_with_stdin();
        UnixListener::bind(socket).unwrap()
    };
    let identity = write_own_identity(socket, identity_file);
    println!("ready");
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        match mode {
            "silent" => {}
            "hang-up" => continue,
            "greet" => (&stream).write_all(b"220 welcome\r\n").unwrap(),
            "flood" => {
                challenge(&stream, &identity);
                while (&stream).write_all(&[1; 4096]).is_ok() {}
            }
            "drip" => drip(&stream, &identity, argument.map(|pace| pace.parse().unwrap())),
            "generous" => give_descriptors(&stream, &identity),
            "die" => {
                challenge(&stream, &identity);
                die();
            }
            "answer-and-die" => {
                let answer = challenge(&stream, &identity);
                // The prober reads on when it is told to, and finds the last bytes of a dead process.
                let prober = socket_peercred(&stream).unwrap().pid;
                kill_process(prober, Signal::STOP).unwrap();
                (&stream).write_all(&answer).unwrap();
                die();
            }
            unknown => panic!("{unknown} is no mode"),
        }
        kept.push(stream);
    }
}

/// Returns the answer to the challenge that arrives, with a long trace.
fn challenge(mut stream: &UnixStream, identity: &DaemonProcess) -> Vec<u8> {
    let body = read_frame(&mut stream).unwrap();
    let frame = FrameRef::decode(&body).unwrap().to_frame();
    let probe = endpoint_probe_request_from_frame(&frame).unwrap();
    let mut response = endpoint_probe_response_frame(&probe, identity);
    response.tracestate = "x".repeat(4000);
    encode_framed(&response).unwrap()
}

fn drip(mut stream: &UnixStream, identity: &DaemonProcess, pace: Option<u64>) {
    let (_held, never) = mpsc::channel::<()>();
    for byte in challenge(stream, identity) {
        if stream.write_all(&[byte]).is_err() {
            return;
        }
        if let Some(milliseconds) = pace {
            // The interval between the bytes; nothing is waited for.
            let _ = never.recv_timeout(Duration::from_millis(milliseconds));
        }
    }
}

/// Sends the maximum number of descriptors with each piece of its answer.
fn give_descriptors(stream: &UnixStream, identity: &DaemonProcess) {
    let stdout = std::io::stdout();
    let descriptors = [stdout.as_fd(); MAX_DESCRIPTORS];
    for piece in challenge(stream, identity).chunks(100) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        if sendmsg(stream, &[IoSlice::new(piece)], &mut ancillary, SendFlags::NOSIGNAL).is_err() {
            return;
        }
    }
}

fn die() -> ! {
    kill_process(getpid(), Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

/// Writes its identity, and then executes `program`, which replays the identity file on the same socket as the same
/// process.
pub(crate) fn become_another(socket: &str, identity_file: &Path, program: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    write_own_identity(socket, identity_file);
    panic!("{}", replay_in_a_child(program.as_ref(), socket.as_ref(), identity_file, &listener).exec());
}

/// Writes its identity, and executes `program` once the prober has inspected the executable. `program` answers.
pub(crate) fn become_another_meanwhile(socket: &str, identity_file: &Path, program: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    write_own_identity(socket, identity_file);
    println!("ready");
    let (stream, _) = listener.accept().unwrap();
    // The challenge has arrived, and is left for the other program.
    recv(&stream, &mut [0; 1], RecvFlags::PEEK).unwrap();
    // The prober inspects the image before the answer. It sleeps when it is done.
    let prober = socket_peercred(&stream).unwrap().pid.as_raw_nonzero();
    while state(&format!("/proc/{prober}/stat")) != Some('S') {
        std::thread::yield_now();
    }
    let mut other = Command::new(program);
    other.arg("replay-connected").arg(socket).arg(identity_file).stdin(Stdio::from(OwnedFd::from(stream)));
    panic!("{}", other.exec());
}

/// Answers its first prober as itself, and executes `program` when it is told to, which replays the identity file.
pub(crate) fn become_another_later(socket: &str, identity_file: &Path, program: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    let identity = write_own_identity(socket, identity_file);
    println!("ready");
    let (stream, _) = listener.accept().unwrap();
    (&stream).write_all(&challenge(&stream, &identity)).unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
    panic!("{}", replay_in_a_child(program.as_ref(), socket.as_ref(), identity_file, &listener).exec());
}

/// Writes its identity, and lets a child accept and answer.
pub(crate) fn delegate(socket: &str, identity_file: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    write_own_identity(socket, identity_file);
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program);
    child.arg("replay-delegated").arg(socket).arg(identity_file);
    child.stdin(Stdio::from(listener.as_fd().try_clone_to_owned().unwrap()));
    child.spawn().unwrap().wait().unwrap();
}

/// Writes its identity, and answers every prober: the first half itself, and the rest through a child.
pub(crate) fn answer_with_a_child(socket: &str, identity_file: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let identity = write_own_identity(socket, identity_file);
    println!("ready");
    end_with_stdin();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let answer = challenge(&stream, &identity);
        let (own, rest) = answer.split_at(answer.len() / 2);
        stream.write_all(own).unwrap();
        let mut child = Command::new("cat");
        child.stdin(Stdio::piped()).stdout(Stdio::from(OwnedFd::from(stream)));
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(rest).unwrap();
        // The prober may have closed the connection.
        child.wait().unwrap();
    }
}

/// Replays the identity for as long as the process lives that wrote it.
pub(crate) fn answer_for_the_parent(identity_file: &Path) {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    replay_on_stdin(identity_file);
}

/// Listens, never accepts, and lets its backlog fill up.
pub(crate) fn deaf(socket: &str, identity_file: &Path) {
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    write_own_identity(socket, identity_file);
    let mut waiting = Vec::new();
    loop {
        match LocalStream::connect(socket) {
            Ok(stream) => waiting.push(stream),
            Err(ConnectError::BacklogFull { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    println!("ready");
    // Waits for the end of the input.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn end_with_stdin() {
    std::thread::spawn(|| {
        // Waits for the end of the input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
