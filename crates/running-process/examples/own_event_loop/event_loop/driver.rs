//! The loop: it accepts connections, waits for all of them with poll(2), and ends the server.

use super::connection::Connection;
use super::handlers::{Handler, LegacyHandler};
use super::mailbox::{Mailbox, Message, Messages, mailbox};
use super::workers::Workers;
use running_process::broker::backend_sdk::{
    ACCEPT_PAUSE, AcceptErrors, AfterError, Callback, ConnectionTable, LocalListener, LocalStream, Phase,
    Registration, RegistrationGuard, ServeError, ServerBuilder, ServerError, ServerPolicy, ServerSession,
    ServerStop, Shutdown, ShutdownStep, Slot,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Most bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Most connections that are accepted before the open ones have their turn.
const MAX_ACCEPTS: usize = 128;

/// A server on the thread that [runs](Self::run) it.
pub(crate) struct EventLoop {
    policy: Arc<ServerPolicy<Handler>>,
    legacy: Option<Arc<LegacyHandler>>,
    connections: ConnectionTable<Connection>,
    accepting: Option<Accepting>,
    workers: Workers,
    mailbox: Mailbox,
    messages: Messages,
    stop: ServerStop,
    /// `None` until the server is stopped or handed over.
    ending: Option<Ending>,
    /// `None` until the registration has ended.
    registered: Option<Result<(), ServerError>>,
    buffer: Vec<u8>,
}

/// The part of the loop that ends when the server is stopped or handed over.
struct Accepting {
    // The identity file is removed while the socket is still owned.
    _registration: RegistrationGuard,
    listener: LocalListener,
    path: String,
    errors: AcceptErrors,
    /// Nothing is accepted until this moment, or until fewer connections than this are open.
    pause: Option<(Instant, usize)>,
}

struct Ending {
    shutdown: Shutdown,
    /// When the next step follows; `None` is never.
    next_step: Option<Instant>,
    /// Until when the registration is waited for; `None` is for ever.
    deadline: Option<Instant>,
}

/// The sources of events that were ready, besides connections.
struct Ready {
    messages: bool,
    listener: bool,
    name: bool,
    connections: Vec<u64>,
}

impl EventLoop {
    /// Returns the loop of the server that `builder` configures for the endpoint of `listener`. Its registration begins at once.
    ///
    /// # Errors
    ///
    /// The identity file could not be written at its path, or the system has no pipe or no thread.
    pub(crate) fn new(
        mut listener: LocalListener,
        builder: ServerBuilder<Handler>,
        legacy: Option<Arc<LegacyHandler>>,
    ) -> Result<Self, ServerError> {
        let (mailbox, messages) = mailbox().map_err(ServerError::Start)?;
        let stop = builder.stop_handle();
        let path = builder.endpoint().path.clone();
        let (policy, registration) = builder.start(Instant::now)?;
        if let Err(source) = listener.watch_name() {
            policy.report(&ServeError::NotWatched { path: path.clone(), source });
        }
        let accepting = Accepting {
            _registration: registration.guard(),
            listener,
            path,
            errors: AcceptErrors::default(),
            pause: None,
        };
        register(registration, &policy, &stop, &mailbox).map_err(ServerError::Start)?;
        let stopped = mailbox.clone();
        stop.when_stopped(move || stopped.send(Message::Stop));
        Ok(Self {
            connections: ConnectionTable::new(policy.config().max_connections),
            policy,
            legacy,
            accepting: Some(accepting),
            workers: Workers::default(),
            mailbox,
            messages,
            stop,
            ending: None,
            registered: None,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Serves until the server is stopped or handed over, and its connections have ended.
    ///
    /// # Errors
    ///
    /// The daemon could not be registered, connections cannot be accepted any more, or something was still at work
    /// `drain_timeout` after the stop.
    pub(crate) fn run(mut self) -> Result<(), ServerError> {
        let mut accepted = Ok(());
        // The name may have been lost before it was watched.
        self.check_name();
        let late = loop {
            if let Some(late) = self.end() {
                break late;
            }
            let ready = self.wait().map_err(ServerError::Accept)?;
            if ready.messages {
                self.take_messages().map_err(ServerError::Accept)?;
            }
            if ready.name {
                self.check_name();
            }
            for connection in ready.connections {
                self.advance(connection);
            }
            if ready.listener
                && let Err(error) = self.accept()
            {
                accepted = Err(ServerError::Accept(error));
                self.stop.stop();
            }
        };
        self.connections.iter_mut().for_each(Connection::disconnect);
        let callbacks: Vec<_> = self.registered.is_none().then_some(Callback::OnReady).into_iter().collect();
        self.registered.unwrap_or(Ok(()))?;
        if late > 0 || !callbacks.is_empty() {
            let waited = self.policy.config().drain_timeout;
            return Err(ServerError::DrainTimedOut { connections: late, callbacks, waited });
        }
        accepted
    }

    /// Waits until something is ready or a deadline has passed.
    fn wait(&self) -> io::Result<Ready> {
        let mut fds = vec![PollFd::new(&self.messages, PollFlags::IN)];
        let open = self.connections.len();
        let accepting = self.accepting.as_ref();
        let accepting = accepting.filter(|accepting| self.policy.may_accept(&accepting.listener));
        let listener = accepting.filter(|accepting| !accepting.is_paused(open));
        let listener =
            listener.map(|accepting| add(&mut fds, PollFd::new(&accepting.listener, PollFlags::IN)));
        let name = self.accepting.as_ref().and_then(|accepting| accepting.listener.name_events());
        let name = name.map(|name| add(&mut fds, PollFd::from_borrowed_fd(name, PollFlags::IN)));
        let mut first = self.deadline();
        let mut connections = Vec::with_capacity(open);
        for connection in self.connections.iter() {
            let deadline = connection.deadline();
            first = first.into_iter().chain(deadline).min();
            connections.push((connection.id, deadline, connection.poll_fd().map(|fd| add(&mut fds, fd))));
        }
        poll_until(&mut fds, first)?;
        let is_ready = |index: usize| !fds[index].revents().is_empty();
        let now = Instant::now();
        let advances = |deadline: Option<Instant>, index: Option<usize>| {
            index.is_some_and(is_ready) || deadline.is_some_and(|deadline| deadline <= now)
        };
        Ok(Ready {
            messages: is_ready(0),
            listener: listener.is_some_and(is_ready),
            name: name.is_some_and(is_ready),
            connections: connections
                .into_iter()
                .filter_map(|(id, deadline, index)| advances(deadline, index).then_some(id))
                .collect(),
        })
    }

    /// Returns when something is to be done besides the connections, although nothing is ready.
    fn deadline(&self) -> Option<Instant> {
        let open = self.connections.len();
        let paused = self.accepting.as_ref().filter(|accepting| accepting.is_paused(open));
        let pause = paused.and_then(|accepting| accepting.pause).map(|(until, _)| until);
        let ending = self.ending.as_ref();
        let ending = ending.and_then(|ending| if open > 0 { ending.next_step } else { ending.deadline });
        pause.into_iter().chain(ending).min()
    }

    fn take_messages(&mut self) -> io::Result<()> {
        let mut changed = Vec::new();
        for message in self.messages.take()? {
            match message {
                Message::Stop => self.begin_end(),
                Message::Registered(Ok(registered)) => self.registered = Some(registered),
                Message::Registered(Err(panic)) => resume_unwind(panic),
                Message::Identified => {
                    let waiting = self.connections.iter().filter(|connection| connection.awaits_identity());
                    changed.extend(waiting.map(|connection| connection.id));
                }
                Message::Finished { connection: id, call, answer } => {
                    self.change(id, &mut changed, |connection| connection.finish(call, answer));
                }
                Message::WantsToSend { connection: id, sender } => {
                    self.change(id, &mut changed, |connection| connection.add_sender(sender));
                }
                Message::Event { connection: id, event } => {
                    self.change(id, &mut changed, |connection| connection.send_event(event));
                }
                Message::LegacyRead { connection: id } => {
                    self.change(id, &mut changed, Connection::release_legacy);
                }
                Message::LegacyEnded { connection: id, panicked } => {
                    self.change(id, &mut changed, |connection| connection.end_legacy(panicked));
                }
            }
        }
        // Answers that came together are written together.
        changed.sort_unstable();
        changed.dedup();
        for id in changed {
            self.advance(id);
        }
        Ok(())
    }

    /// Changes the connection `id`, if it is still open, and notes that.
    fn change(&mut self, id: u64, changed: &mut Vec<u64>, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.get_mut(id) {
            change(connection);
            changed.push(id);
        }
    }

    /// Lets the connection `id` do what it can, and removes it if it has ended.
    fn advance(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.has_ended() {
            connection.advance(&mut self.buffer, self.legacy.as_ref());
        }
        if connection.has_ended() {
            self.connections.remove(id);
        }
    }

    /// Accepts the connections that wait, as long as there are slots for them.
    ///
    /// # Errors
    ///
    /// The listener is broken.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..MAX_ACCEPTS {
            let Some(accepting) = &mut self.accepting else { return Ok(()) };
            let (open, now) = (self.connections.len(), Instant::now());
            let mut replaced = None;
            let pause = match self.connections.slot(now, |oldest| replaced = Some(oldest.id)) {
                Ok(slot) => match accepting.listener.accept_now() {
                    Ok(None) => return Ok(()),
                    Ok(Some(stream)) => {
                        accepting.errors.forget();
                        self.open(stream, slot);
                        continue;
                    }
                    Err(error) => {
                        let (error, after) = accepting.errors.judge(error)?;
                        self.policy.report(&ServeError::Accept(error));
                        if after == AfterError::AtOnce {
                            continue;
                        }
                        ACCEPT_PAUSE
                    }
                },
                Err(time) => time,
            };
            accepting.pause = now.checked_add(pause).map(|until| (until, open));
            if let Some(id) = replaced
                && let Some(connection) = self.connections.get_mut(id)
            {
                connection.enter(Phase::Draining);
                self.advance(id);
            }
            return Ok(());
        }
        Ok(())
    }

    /// Serves a connection that was accepted.
    fn open(&mut self, stream: LocalStream, slot: Slot) {
        let peer = match stream.peer_credentials() {
            Ok(peer) => peer,
            Err(error) => return self.policy.report(&error.into()),
        };
        let socket = UnixStream::from(stream);
        if let Err(error) = socket.set_nonblocking(true) {
            return self.policy.report(&error.into());
        }
        let session = ServerSession::new(Arc::clone(&self.policy), peer, slot, Instant::now());
        let (mailbox, workers) = (self.mailbox.clone(), self.workers.clone());
        let open = |id| Connection::new(id, session, socket, mailbox, workers);
        let id = self.connections.insert(slot, open).id;
        self.advance(id);
    }

    /// Tells the observer if no further client finds the socket.
    fn check_name(&self) {
        if let Some(Accepting { listener, path, .. }) = &self.accepting
            && listener.is_name_lost()
        {
            self.policy.report(&ServeError::EndpointLost { path: path.clone() });
        }
    }

    /// Stops accepting. Every connection answers what it has received, or is served on if the server was handed over. If that
    /// is stopped as well, the next step of the shutdown notices.
    fn begin_end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        let drain_timeout = self.policy.config().drain_timeout;
        let now = Instant::now();
        let (shutdown, deadline) =
            (Shutdown::begin(now, drain_timeout, &self.stop), now.checked_add(drain_timeout));
        self.accepting = None;
        self.ending = Some(Ending { shutdown, next_step: deadline, deadline });
        self.enter(self.stop.phase());
    }

    fn enter(&mut self, phase: Phase) {
        let open: Vec<u64> = self.connections.iter().map(|connection| connection.id).collect();
        for id in open {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.enter(phase);
                self.advance(id);
            }
        }
    }

    /// Goes on with the end of the server, if it was stopped. Returns how many connections were late once it has ended.
    fn end(&mut self) -> Option<usize> {
        loop {
            let ending = self.ending.as_mut()?;
            let now = Instant::now();
            let timed_out = ending.deadline.is_some_and(|deadline| deadline <= now);
            match ending.shutdown.step(self.connections.len(), now) {
                ShutdownStep::Enter(phase) => self.enter(phase),
                ShutdownStep::End { late } => {
                    return (self.registered.is_some() || timed_out).then_some(late);
                }
                ShutdownStep::Wait(until) => {
                    ending.next_step = until;
                    return None;
                }
            }
        }
    }
}

impl Accepting {
    /// Returns whether nothing is accepted while so many connections are `open`.
    fn is_paused(&self, open: usize) -> bool {
        self.pause.is_some_and(|(until, before)| open >= before && Instant::now() < until)
    }
}

/// Registers the daemon on a thread of its own, since that reads the whole executable.
fn register(
    registration: Registration,
    policy: &Arc<ServerPolicy<Handler>>,
    stop: &ServerStop,
    mailbox: &Mailbox,
) -> io::Result<()> {
    let (policy, stop, mailbox) = (Arc::clone(policy), stop.clone(), mailbox.clone());
    let register = move || {
        let run = || registration.run(&stop, &policy, || mailbox.send(Message::Identified));
        let registered = catch_unwind(AssertUnwindSafe(run));
        mailbox.send(Message::Registered(registered));
    };
    thread::Builder::new().name("registration".to_owned()).spawn(register).map(drop)
}

/// Appends `fd`; returns its index.
fn add<'fd>(fds: &mut Vec<PollFd<'fd>>, fd: PollFd<'fd>) -> usize {
    fds.push(fd);
    fds.len() - 1
}

/// Waits until one of `fds` is ready, or `deadline` has passed.
fn poll_until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    // Longer waits than a day are no use, and may be too long for the system.
    const LONGEST: Duration = Duration::from_hours(24);
    let left = deadline.map_or(LONGEST, |at| at.saturating_duration_since(Instant::now()).min(LONGEST));
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    match poll(fds, Some(&timeout)) {
        // The flags of an interrupted call are those of before: nothing is ready.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
