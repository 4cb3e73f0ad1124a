//! The task that owns a connection's socket.

use super::conn::{Abandon, Concurrent, Link};
use super::context::Phase;
use super::legacy::AsyncLegacyConnection;
use super::request;
use crate::broker::backend_sdk::CancelReason;
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::proto::send_buffer::PIECES;
use crate::broker::backend_sdk::server::callback::{self, Guarded};
use crate::broker::backend_sdk::server::config::ServerTrouble;
use crate::broker::backend_sdk::server::policy::{READ_BYTES, STALLED};
use crate::broker::backend_sdk::server::session::Session;
use crate::broker::backend_sdk::server::telemetry::Fact;
use crate::broker::runtime_clock::now;
use crate::transport::{AcceptedStream, LateReads, timed_out};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// How often a task goes on with what waits, or how much it reads in bytes, before it lets others run.
const ROUNDS: usize = 16;
const ENOUGH_READ: usize = READ_BYTES;

/// For how long a task has handlers begin themselves before it gives the other requests that it has read to tasks of their
/// own. Where there is one thread that costs nobody more, and those that end without waiting need no task.
const AT_ONCE: Duration = Duration::from_micros(50);

thread_local! {
    /// What every connection of a thread reads into.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Serves the connection until it is over.
pub(super) async fn serve(mut driver: Driver, open: Open) {
    let link = &open.link;
    let Some(buffered) = poll_fn(|context| driver.turn(link, context)).await else { return };
    match &link.shared.legacy {
        Some(handler) => {
            let connection = AsyncLegacyConnection::new(buffered, driver.stream, Arc::clone(link));
            let ended = match callback::run(|| handler(connection)) {
                Some(handling) => {
                    let mut handling = Guarded::new(handling);
                    poll_fn(|context| handling.poll_by(|handling| handling.poll(context))).await
                }
                None => None,
            };
            if ended.is_none() {
                let peer = link.session().peer();
                link.shared.service.observation.trouble_of(peer, &ServerTrouble::HandlerPanicked);
            }
        }
        None => {
            let peer = link.session().peer();
            link.shared.service.observation.trouble_of(peer, &ServerTrouble::LegacyNotServed);
        }
    }
}

/// A connection that counts as open until this is dropped: it is over, its task panicked, or the server was dropped.
pub(super) struct Open {
    link: Arc<Link>,
    id: u64,
}

impl Open {
    pub(super) fn new(link: Arc<Link>, id: u64) -> Self {
        link.shared.open().insert(id, Arc::clone(&link));
        link.shared.service.observation.note(Fact::Opened);
        Self { link, id }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let shared = &self.link.shared;
        shared.open().remove(&self.id);
        shared.service.observation.note(Fact::Closed);
        let mut session = self.link.session();
        if session.connection.in_flight() > 0 {
            session.hang_up();
            // Handlers are told; nothing new can come of it.
            session.pump(&shared.service, drop);
        }
        // Requests that handlers still work on go with them.
        session.settle(&shared.service);
        drop(session);
        self.link.advanced.notify_waiters();
    }
}

pub(super) struct Driver {
    stream: AcceptedStream,
    timer: Option<Pin<Box<Sleep>>>,
    /// What the peer is slow to read.
    unread: Option<Unread>,
    /// A write was tried although the runtime has noticed no room, because the peer should have read by now.
    retried: bool,
    late: LateReads,
    phase: Phase,
}

/// Output that could not be written at once.
struct Unread {
    length: usize,
    deadline: Option<Instant>,
    /// The peer may have as much time once more.
    again: bool,
}

/// What the task waits for, besides the bell and the timer.
enum Next {
    Read,
    /// The peer sends nothing more, and calls are at work.
    WatchPeer,
    /// Output to be written, or calls to end.
    Nothing,
    Again,
    Legacy(Vec<u8>),
    End,
}

impl Driver {
    pub(super) fn new(stream: AcceptedStream) -> Self {
        Self {
            stream,
            timer: None,
            unread: None,
            retried: false,
            late: LateReads::default(),
            phase: Phase::Serving,
        }
    }

    /// Does what can be done now; where nothing can, the task will be woken. In the end, what the legacy handler starts
    /// with, if there is something for it.
    fn turn(&mut self, link: &Arc<Link>, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        link.bell.listen(context.waker());
        let mut read = 0;
        for _ in 0..ROUNDS {
            let mut session = link.session();
            self.heed_phase(link, &mut session);
            let mut asked = self.heed_time(link, &mut session);
            session.pump(&link.shared.service, |call| asked.push(call));
            let was_gone = session.gone;
            let written = self.write(link, &mut session, context);
            self.heed_unread(link, &mut session, written);
            let again = session.gone != was_gone || written && session.connection.is_postponed();
            let next = if again { Next::Again } else { next(&mut session) };
            let deadline = self.deadline(&session);
            let advanced = std::mem::take(&mut session.cancelled) || written;
            drop(session);
            if advanced {
                link.advanced.notify_waiters();
            }
            if begin(link, asked) {
                continue;
            }
            let went_on = match next {
                Next::Legacy(buffered) => return Poll::Ready(Some(buffered)),
                Next::End => return Poll::Ready(None),
                Next::Again => continue,
                Next::Read if read >= ENOUGH_READ => break,
                Next::Read => self.read(link, &mut read, context).map(|asked| {
                    begin(link, asked);
                }),
                Next::WatchPeer => self.stream.poll_gone(context).map(|()| link.session().hang_up()),
                Next::Nothing => Poll::Pending,
            };
            if went_on.is_pending() && self.poll_timer(deadline, context).is_pending() {
                return Poll::Pending;
            }
        }
        // It is woken once the runtime has asked the system what else there is.
        if pin!(tokio::task::yield_now()).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn heed_phase(&mut self, link: &Link, session: &mut Session<Abandon>) {
        let phase = link.shared.phase();
        if link.place.is_over_capacity() && link.ending.load(Ordering::Acquire) {
            self.stream.interrupt_reads();
        }
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        self.stream.interrupt_reads();
        if let Some(unread) = &mut self.unread {
            unread.deadline = earliest(unread.deadline, now().checked_add(STALLED));
        }
        if phase == Phase::Cancelling {
            session.connection.cancel_all(CancelReason::ShuttingDown);
        }
    }

    /// Lets the connection's deadline judge if it has passed, unless something has arrived meanwhile. Gives what the peer asked
    /// for before it went.
    fn heed_time(&mut self, link: &Link, session: &mut Session<Abandon>) -> Vec<Concurrent> {
        let now = now();
        if self.reads_too_slowly(now) {
            // There may be room by now.
            self.stream.retry_write();
            self.retried = true;
        }
        if session.connection.deadline().is_none_or(|deadline| deadline > now) {
            self.late = LateReads::default();
            return Vec::new();
        }
        let arrived = session.connection.wants_input().then(|| self.read_arrived(session, now)).flatten();
        match arrived {
            None => session.connection.handle_timeout(now),
            Some(0) => return self.take_end(link, session),
            Some(bytes) => link.shared.service.observation.note(Fact::Received { bytes }),
        }
        Vec::new()
    }

    /// Reads what has arrived, whatever the runtime has noticed of it; `None` if that is nothing, 0 if it is the end.
    fn read_arrived(&mut self, session: &mut Session<Abandon>, now: Instant) -> Option<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            // An error is told by the next read.
            let length = self.late.read(|| self.stream.read_arrived(scratch))?.ok()?;
            if length > 0 {
                session.connection.receive(&scratch[..length], now);
            }
            Some(length)
        })
    }

    /// Ends the connection if the peer should have read more by now. If it has taken something when that is noticed, it has
    /// as much time once more, because this process may have been stopped meanwhile.
    fn heed_unread(&mut self, link: &Link, session: &mut Session<Abandon>, written: bool) {
        let now = now();
        if !std::mem::take(&mut self.retried) || !self.reads_too_slowly(now) {
            return;
        }
        if written && self.unread.as_ref().is_some_and(|unread| unread.again) {
            let deadline = now.checked_add(self.patience(link));
            self.unread = Some(Unread { length: session.connection.unwritten(), deadline, again: false });
            return;
        }
        self.unread = None;
        fail(link, session, timed_out());
    }

    /// Returns the time for which the peer may read nothing.
    fn patience(&self, link: &Link) -> Duration {
        let write = link.shared.service.config.write;
        if self.phase == Phase::Serving { write } else { write.min(STALLED) }
    }

    /// Returns whether output waits that the peer should have read by `now`.
    fn reads_too_slowly(&self, now: Instant) -> bool {
        self.unread.as_ref().and_then(|unread| unread.deadline).is_some_and(|deadline| deadline <= now)
    }

    /// Writes what the peer takes, if that is anything.
    fn write(&mut self, link: &Link, session: &mut Session<Abandon>, context: &mut Context<'_>) -> bool {
        let mut advanced = false;
        while !session.connection.output().is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = session.connection.output_slices(&mut pieces);
            match self.stream.poll_write(context, &pieces[..count]) {
                Poll::Ready(Ok(written @ 1..)) => {
                    session.connection.output_written(written, now());
                    link.shared.service.observation.note(Fact::Sent { bytes: written });
                    self.unread = self.unread.take().filter(|unread| unread.length > written);
                    if let Some(unread) = &mut self.unread {
                        unread.length -= written;
                        if self.phase != Phase::Serving {
                            // A peer that reads on is waited for.
                            unread.deadline = now().checked_add(STALLED);
                        }
                    }
                    advanced = true;
                }
                Poll::Ready(Ok(0)) => fail(link, session, io::ErrorKind::WriteZero.into()),
                Poll::Ready(Err(error)) => fail(link, session, error),
                Poll::Pending => {
                    let write = self.patience(link);
                    self.unread.get_or_insert_with(|| Unread {
                        length: session.connection.unwritten(),
                        deadline: now().checked_add(write),
                        again: true,
                    });
                    break;
                }
            }
        }
        if advanced {
            session.settle(&link.shared.service);
        }
        advanced
    }

    /// Reads once and counts how much. What the peer asked for before it went is given, cancelled.
    fn read(&mut self, link: &Link, count: &mut usize, context: &mut Context<'_>) -> Poll<Vec<Concurrent>> {
        // A read that was interrupted is bounded, by the length of the memory that is read into.
        let lent = (self.phase == Phase::Serving).then(|| link.session().connection.lend_input()).flatten();
        let (read, mut session) = match lent {
            Some(mut buffer) => {
                let read = self.stream.poll_read_onto(context, &mut buffer);
                let length = if let Poll::Ready(Ok(length)) = read { length } else { 0 };
                let mut session = link.session();
                session.connection.give_back_input(buffer, length, now());
                (ready!(read), session)
            }
            None => ready!(SCRATCH.with_borrow_mut(|scratch| {
                self.stream.poll_read(context, scratch).map(|read| {
                    let mut session = link.session();
                    if let Ok(length @ 1..) = read {
                        session.connection.receive(&scratch[..length], now());
                    }
                    (read, session)
                })
            })),
        };
        match read {
            Ok(0) => return Poll::Ready(self.take_end(link, &mut session)),
            Ok(length) => {
                *count += length;
                link.shared.service.observation.note(Fact::Received { bytes: length });
            }
            Err(error) => fail(link, &mut session, error),
        }
        Poll::Ready(Vec::new())
    }

    /// The peer sends nothing more, and may be gone altogether.
    fn take_end(&self, link: &Link, session: &mut Session<Abandon>) -> Vec<Concurrent> {
        let service = &link.shared.service;
        session.connection.receive_eof();
        let mut asked = Vec::new();
        session.pump(service, |call| asked.push(call));
        if session.connection.in_flight() > 0 && self.stream.is_gone() {
            session.hang_up();
            // They are told before anybody begins.
            session.pump(service, drop);
        }
        asked
    }

    fn deadline(&self, session: &Session<Abandon>) -> Option<Instant> {
        let unread = self.unread.as_ref().and_then(|unread| unread.deadline);
        earliest(session.connection.deadline(), unread)
    }

    /// Ready once `deadline` has passed, or a while before that.
    fn poll_timer(&mut self, deadline: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // One that ends too early is set again then, which is cheaper than to set it with every message.
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    }
}

fn next(session: &mut Session<Abandon>) -> Next {
    let connection = &session.connection;
    let at_work = connection.in_flight() > 0;
    if connection.wants_input() {
        Next::Read
    } else if connection.has_ended() && at_work && !session.gone {
        Next::WatchPeer
    } else if !connection.is_over() || at_work || !connection.output().is_empty() {
        Next::Nothing
    } else {
        session.legacy.take().map_or(Next::End, Next::Legacy)
    }
}

fn fail(link: &Link, session: &mut Session<Abandon>, error: io::Error) {
    if !session.gone {
        link.shared.service.observation.trouble_of(session.peer(), &error.into());
        session.hang_up();
    }
}

/// Has handlers begin with `calls`. Whether some have ended already.
fn begin(link: &Arc<Link>, calls: Vec<Concurrent>) -> bool {
    let mut ended = false;
    let began = (link.shared.one_thread && !calls.is_empty()).then(now);
    for call in calls {
        let link = Arc::clone(link);
        if began.is_some_and(|began| now().duration_since(began) < AT_ONCE) && !link.is_full() {
            match request::serve_at_once(link, call) {
                Some(waiting) => drop(tokio::spawn(waiting)),
                None => ended = true,
            }
        } else {
            tokio::spawn(request::serve(link, call));
        }
    }
    ended
}
