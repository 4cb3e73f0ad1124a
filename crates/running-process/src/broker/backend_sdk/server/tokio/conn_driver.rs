//! The task that owns the socket of a connection.

use super::context::OpenConn;
use super::legacy::{self, AsyncLegacyConnection, Legacy};
use super::relay;
use super::request::{self, AsyncHandler};
use crate::broker::backend_sdk::server::scratch::{self, READ_BYTES};
use crate::broker::backend_sdk::{Action, Dispatched, ServeError, ServerSession};
use crate::broker::runtime_clock::now;
use crate::transport::{Incoming, LateReads, ServedTransport, Upstream};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Most rounds of a task, and most bytes that it reads, before it lets other tasks run.
const ROUNDS: usize = 16;
const ENOUGH_READ: usize = READ_BYTES;

/// Time for which the task of a connection polls handlers itself, on a runtime of one thread. The other requests that it has
/// read get tasks of their own. A handler that ends without waiting needs no task.
const AT_ONCE: Duration = Duration::from_micros(50);

/// Number of requests that are taken at once to be polled there. The allocator has the memory of so few at hand for the next ones.
const TAKEN_AT_ONCE: usize = 4;

type Requests = Vec<Dispatched<AsyncHandler>>;

/// Serves the connection until it ends.
pub(super) fn serve(open: OpenConn, stream: impl ServedTransport) -> impl Future<Output = ()> + Send {
    let mut driver = ConnDriver { stream, timer: None, late: LateReads::default() };
    if driver.stream.passes_descriptors() {
        open.conn.session().accept_descriptors();
    }
    // Boxed, because it would make the task of every framed connection larger.
    let mut first_words = match &open.context.legacy {
        Legacy::Relay(backend) => {
            Some(Box::pin(relay::first_words(Arc::clone(backend), Arc::clone(&open.conn))))
        }
        _ => None,
    };
    async move {
        let mut upstream = None;
        let start = poll_fn(|context| {
            // Serve first what the client has sent by now.
            let polled = driver.poll(&open, context);
            if let Some(words) = &mut first_words
                && let Poll::Ready(spoken) = words.as_mut().poll(context)
            {
                (upstream, first_words) = (spoken, None);
                if polled.is_pending() {
                    return driver.poll(&open, context);
                }
            }
            polled
        });
        if let Some(start) = start.await {
            drop(first_words);
            // Boxed for the same reason.
            Box::pin(serve_legacy(&open, driver.stream, start, upstream)).await;
        }
    }
}

/// Serves the legacy wire of a connection, until that has ended or the connection is to end at once. `start` was received
/// already, and `upstream` is open already.
async fn serve_legacy(
    open: &OpenConn,
    stream: impl ServedTransport,
    start: Vec<u8>,
    upstream: Option<Upstream>,
) {
    let served = match &open.context.legacy {
        Legacy::NotServed => Err(ServeError::LegacyNotServed),
        Legacy::Handler(handler) => {
            legacy::run(handler, AsyncLegacyConnection::new(start, stream, Arc::clone(&open.conn))).await
        }
        Legacy::Relay(backend) => relay::run(&**backend, &open.conn, stream, start, upstream).await,
    };
    if let Err(error) = served {
        let session = open.conn.session();
        session.policy().telemetry.error_of(session.peer(), &error);
    }
}

struct ConnDriver<S> {
    stream: S,
    timer: Option<Pin<Box<Sleep>>>,
    late: LateReads,
}

impl<S: ServedTransport> ConnDriver<S> {
    /// Reads, serves and writes until nothing more can be done; the task is woken when it can. Returns what the legacy handler
    /// starts with, or `None` once the connection has ended.
    fn poll(&mut self, open: &OpenConn, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let conn = &open.conn;
        conn.driver.register(context.waker());
        let mut read = 0;
        for _ in 0..ROUNDS {
            let Some(phase) = conn.phase() else { return Poll::Ready(None) };
            let (now, mut requests) = (now(), Requests::new());
            let mut session = conn.session();
            if session.enter(phase, now) {
                self.stream.interrupt_reads();
            }
            let is_late = session.deadline().is_some_and(|deadline| deadline <= now);
            if is_late {
                // The peer may have been in time, while this process was stopped.
                self.stream.retry_write();
            } else {
                self.late = LateReads::default();
            }
            let limit = if open.context.one_thread { TAKEN_AT_ONCE } else { usize::MAX };
            take_requests(&mut session, &mut requests, limit);
            session.write_all_output(self::now, |slices, descriptors| {
                let written = if descriptors.is_empty() {
                    self.stream.poll_write(context, slices)
                } else {
                    self.stream.poll_write_with(context, slices, descriptors)
                };
                match written {
                    Poll::Ready(written) => written,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            let action = session.next_action();
            let (deadline, progress) = (session.deadline(), session.take_progress());
            drop(session);
            if progress {
                conn.progress.notify_waiters();
            }
            if start(open, requests) {
                continue;
            }
            let polled = match action {
                Action::ServeLegacy(start) => return Poll::Ready(Some(start)),
                Action::Close => return Poll::Ready(None),
                Action::Process => continue,
                Action::Read if read >= ENOUGH_READ => break,
                Action::Read => {
                    self.poll_read(open, is_late.then_some(now), context).map(|length| read += length)
                }
                Action::AwaitHangUp | Action::Wait if is_late => {
                    conn.session().handle_timeout(now);
                    continue;
                }
                Action::AwaitHangUp => self.stream.poll_gone(context).map(|()| conn.session().reset()),
                Action::Wait => Poll::Pending,
            };
            if polled.is_pending() && self.poll_timer(deadline, context).is_pending() {
                return Poll::Pending;
            }
        }
        // The runtime polls the task again once it has asked the system what else is ready.
        if pin!(tokio::task::yield_now()).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads once, and returns the number of bytes. If the deadline has passed when it is `late`, reads what had arrived; if that
    /// is nothing, the deadline judges.
    fn poll_read(
        &mut self,
        open: &OpenConn,
        late: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<usize> {
        let mut session = open.conn.session();
        let buffer = if late.is_none() { session.take_recv_buffer() } else { None };
        let read = if let Some(mut buffer) = buffer {
            let read = self.stream.poll_read_onto(context, &mut buffer);
            let length = if let Poll::Ready(Ok(length)) = read { length } else { 0 };
            session.restore_recv_buffer(buffer, length, now());
            read
        } else {
            scratch::with(|scratch| {
                let (passes, mut incoming) = (session.takes_descriptors(), Incoming::default());
                let read = match late {
                    None if passes => self.stream.poll_read_with(context, scratch, &mut incoming),
                    None => self.stream.poll_read(context, scratch),
                    Some(_) => {
                        let arrived = self.late.read(|| {
                            if passes {
                                self.stream.read_arrived_with(context, scratch, &mut incoming)
                            } else {
                                self.stream.read_arrived(context, scratch)
                            }
                        });
                        // The next read returns an error again.
                        arrived.and_then(Result::ok).map_or(Poll::Pending, |length| Poll::Ready(Ok(length)))
                    }
                };
                if let Poll::Ready(Ok(length @ 1..)) = read {
                    session.receive_incoming(&scratch[..length], incoming, now());
                }
                read
            })
        };
        match read {
            Poll::Ready(Ok(0)) => {
                let mut requests = Requests::new();
                session.end_of_input(|| self.stream.is_gone(), |request| requests.push(request));
                drop(session);
                start(open, requests);
            }
            Poll::Ready(Ok(length)) => return Poll::Ready(length),
            Poll::Ready(Err(error)) => session.fail(error),
            Poll::Pending => match late {
                Some(now) => session.handle_timeout(now),
                None => return Poll::Pending,
            },
        }
        Poll::Ready(0)
    }

    /// Waits until `deadline` has passed, or returns before.
    fn poll_timer(&mut self, deadline: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // A timer that ends too early is set again then, which is cheaper than to set it with every message.
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    }
}

/// Processes what was received until there are `limit` requests.
fn take_requests(session: &mut ServerSession<AsyncHandler>, requests: &mut Requests, limit: usize) {
    session.process_while(|request| {
        requests.push(request);
        requests.len() < limit
    });
}

/// Starts the handlers of `requests` and of those that were left unprocessed. Returns whether some have ended already: their answers
/// wait to be written.
fn start(open: &OpenConn, mut requests: Requests) -> bool {
    if requests.is_empty() {
        return false;
    }
    let in_place = open.context.one_thread && !open.conn.session().is_full();
    let (mut until, mut ended) = (in_place.then(|| now() + AT_ONCE), false);
    loop {
        for request in requests.drain(..) {
            let conn = Arc::clone(&open.conn);
            let Some(end) = until else {
                tokio::spawn(request::serve(conn, request));
                continue;
            };
            let (waiting, goes_on) = request::serve_in_place(conn, request, end);
            until = until.filter(|_| goes_on);
            match waiting {
                Some(waiting) => drop(tokio::spawn(waiting)),
                None => ended = true,
            }
        }
        let mut session = open.conn.session();
        if !session.is_unprocessed() {
            return ended;
        }
        let limit = if until.is_some() { TAKEN_AT_ONCE } else { usize::MAX };
        take_requests(&mut session, &mut requests, limit);
    }
}
