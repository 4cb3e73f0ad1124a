//! The daemon that gives its endpoint to a successor.

use super::channel::{Channel, Received};
use super::control_socket::ControlSocket;
use super::messages::Message;
use super::shared::{Phase, Shared, State};
use crate::broker::backend_handle::KILL_TIMEOUT;
use crate::broker::backend_lifecycle::identity_file::{
    try_read_daemon_identity_file, write_daemon_identity_file,
};
use crate::broker::backend_sdk::HandoverHooks;
use crate::broker::service::held::held;
use crate::sys::ProcessHandle;
use crate::transport::{HeldLock, InstanceLock, LocalStream, SharedSocket, StopSignal};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for the request of a process that has connected.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a successor that has closed the connection may take to end by itself, and to say why.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers successors at `control` on a thread of its own.
pub(super) fn listen_at(shared: &Arc<Shared>, control: &Arc<ControlSocket>) {
    let (shared, control) = (Arc::clone(shared), Arc::clone(control));
    let answer = move || answer(&shared, &control);
    // Without the thread the successor waits in vain, and the daemon goes on.
    let _best_effort = thread::Builder::new().name("running-process".to_owned()).spawn(answer);
}

/// Answers successors, one after the other, until `control` is stopped or the endpoint is another process's.
fn answer(shared: &Shared, control: &ControlSocket) {
    while let Some(stream) = control.accept() {
        if hand_over(shared, control, stream) {
            return;
        }
    }
}

/// A process that asks for the endpoint.
struct Request {
    successor: ProcessHandle,
    /// A copy of the lock of the replacement, so that none begins before this one is over.
    _replacing: InstanceLock,
}

/// Hands the endpoint over to the process that has connected, and returns whether this process has it no more.
fn hand_over(shared: &Shared, control: &ControlSocket, stream: LocalStream) -> bool {
    let mut channel = Channel::new(stream);
    let refuse = |channel: &Channel, reason: String| {
        // The process may have gone.
        let _best_effort = channel.send(&Message::Refused { reason }, &[]);
        false
    };
    let request = match request(shared, control, &mut channel) {
        Ok(Some(request)) => request,
        Ok(None) => return false,
        Err(error) => return refuse(&channel, error.to_string()),
    };
    match shared.run_hook(HandoverHooks::release) {
        Some(Ok(())) => {}
        Some(Err(reason)) => return refuse(&channel, reason),
        None => return refuse(&channel, "the daemon ends".to_owned()),
    }
    let abort = match pass(shared, &channel) {
        Ok(abort) => abort,
        Err(error) => {
            resume(shared);
            return refuse(&channel, error.to_string());
        }
    };
    let deadline = Instant::now().checked_add(shared.start_timeout);
    let received = channel.receive(Some(abort.as_fd()), deadline);
    if matches!(received, Ok(Received::Message(Message::Published, _)))
        && matches!(request.successor.has_exited(), Ok(false))
    {
        leave(shared);
        // The successor may have ended since; the next client starts a daemon.
        let _best_effort = channel.send(&Message::Left, &[]);
        return true;
    }
    let may_exit = matches!(received, Ok(Received::End));
    !take_back(shared, &request.successor, may_exit)
}

/// Returns the request of the process that has connected; `None` if it asks for nothing.
fn request(shared: &Shared, control: &ControlSocket, channel: &mut Channel) -> io::Result<Option<Request>> {
    let successor = channel.peer()?;
    if successor.pid() == std::process::id() {
        return Err(io::Error::other("a daemon is not its own successor"));
    }
    let deadline = Some(Instant::now() + HELLO_TIMEOUT);
    let descriptors = match channel.receive(Some(control.stop_signal().as_fd()), deadline)? {
        Received::Message(Message::Hello, descriptors) => descriptors,
        Received::Message(message, _) => {
            return Err(io::Error::other(format!("{message:?} came as the first message")));
        }
        Received::End | Received::Woken | Received::TimedOut => return Ok(None),
    };
    let [replacing]: [OwnedFd; 1] =
        descriptors.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // It has the lock only if the successor has.
    let replacing =
        InstanceLock::from_file(File::from(replacing), &shared.paths.replacing()).map_err(|error| {
            io::Error::other(format!("the successor does not hold the lock of a replacement: {error}"))
        })?;
    Ok(Some(Request { successor, _replacing: replacing }))
}

/// Passes the descriptors, and returns the signal by which another thread ends the handover.
fn pass(shared: &Shared, channel: &Channel) -> io::Result<StopSignal> {
    let mut state = shared.state();
    if state.ends || !matches!(state.phase, Phase::Holding) {
        return Err(io::Error::other("the daemon ends, or another process succeeds it"));
    }
    if !shared.is_in_place() {
        return Err(io::Error::other("a file of the service was removed, and is being made again"));
    }
    let (abort, lock) = (StopSignal::new()?, held(&shared.lock).clone());
    let socket = shared.socket.as_ref().and_then(SharedSocket::get);
    let (Some(lock), Some((socket, file))) = (lock, socket) else {
        return Err(io::Error::other("the daemon has no endpoint of its own"));
    };
    let take = Message::Take { socket: file.numbers() };
    let sent = lock.with_file(|lock| channel.send(&take, &[lock.as_fd(), socket.as_fd()]));
    sent.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))?;
    state.phase = Phase::Passed { abort: abort.clone() };
    Ok(abort)
}

/// Leaves the endpoint to the successor. From now on this process only closes descriptors of it.
fn leave(shared: &Shared) {
    held(&shared.lock).as_ref().inspect(|lock| lock.leave());
    let mut state = shared.state();
    shared.enter(&mut state, Phase::Left);
    drop(state);
    shared.stop.get().inspect(|stop| stop.hand_over());
}

/// Ends the successor, which is not published, and goes on as before. It must not run any more when this process's name is put
/// back: there are never two daemons. Returns `false` if the place is another daemon's by now.
fn take_back(shared: &Shared, successor: &ProcessHandle, may_exit: bool) -> bool {
    let by = |time| Some(Instant::now() + time);
    if !may_exit || !matches!(successor.wait_exit(by(EXIT_TIMEOUT)), Ok(true)) {
        // A process that was killed runs no more code, also if it takes longer to end.
        let _ended = successor.kill().and_then(|()| successor.wait_exit(by(KILL_TIMEOUT)));
    }
    // If this process was stopped for long, the successor took the place, and has ended the lock for both at its end.
    let lock = held(&shared.lock).clone().filter(HeldLock::is_taken_again);
    let mut state = shared.state();
    let Some(lock) = lock else {
        held(&shared.lock).as_ref().inspect(|lock| lock.leave());
        shared.enter(&mut state, Phase::Left);
        drop(state);
        shared.stop.get().inspect(|stop| stop.stop());
        return false;
    };
    // The listener may have been closed meanwhile.
    let _best_effort = shared.listen_again();
    put_identity_back(shared, &state, &lock, successor);
    shared.enter(&mut state, Phase::Holding);
    drop((lock, state));
    resume(shared);
    true
}

/// Writes the identity file again if it is the successor's. Without the lock at its path, which is about to be made again, a file
/// may be another daemon's.
fn put_identity_back(shared: &Shared, state: &State, lock: &HeldLock, successor: &ProcessHandle) {
    let (Some(identity), path) = (&state.identity, shared.paths.identity_file()) else { return };
    let found = try_read_daemon_identity_file(&path).ok().flatten();
    let is_successors = found.as_ref().is_some_and(|found| found.pid == successor.pid());
    if found.as_ref() != Some(identity) && (is_successors || lock.is_in_place()) {
        // A file that names the process that has ended is noticed by every client.
        let _best_effort = write_daemon_identity_file(&path, identity);
    }
}

/// Runs the hook of a daemon that goes on. One that ends needs nothing back.
fn resume(shared: &Shared) {
    shared.run_hook(HandoverHooks::resume);
}
