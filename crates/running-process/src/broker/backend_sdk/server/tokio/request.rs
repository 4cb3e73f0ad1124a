//! Requests, for asynchronous handlers.

use super::conn::Conn;
use crate::broker::backend_sdk::file_payload::read_file;
use crate::broker::backend_sdk::server::answer_file::{unread, unread_answer};
use crate::broker::backend_sdk::server::callback::{self, Guarded};
use crate::broker::backend_sdk::server::request::request_methods;
use crate::broker::backend_sdk::server::telemetry::RequestSpan;
use crate::broker::backend_sdk::{
    Answer, CallId, Cancellation, Dispatched, HandlerError, Payload, RequestParts, SendEventError, ServeError,
};
use crate::broker::protocol::{FramingError, Refusal, RefusalReason};
use crate::broker::runtime_clock::now;
use crate::sys::background::Background;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

/// A concurrent handler of the asynchronous server.
pub(super) type AsyncHandler = dyn Fn(AsyncServerRequest) -> Pin<Box<dyn HandlerFuture>> + Send + Sync;

/// A connection of the asynchronous server.
pub(super) type AsyncConn = Conn<AsyncHandler>;

/// The future of a handler. It is polled as it is: a future around it would drop it while its panic unwinds.
pub(super) trait HandlerFuture: Send {
    fn poll_answer(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Payload, HandlerError>>;
}

impl<F, R> HandlerFuture for F
where
    F: Future<Output = Result<R, HandlerError>> + Send,
    R: Into<Payload>,
{
    fn poll_answer(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Payload, HandlerError>> {
        self.poll(context).map(|answer| answer.map(R::into))
    }
}

/// A request for an asynchronous handler, and the connection to send its events on.
///
/// The handler returns the payload of the response, or an error. Of an error the client learns only that the handler failed, and
/// the observer the rest; a [`Refusal`](crate::broker::protocol::Refusal) goes to the client with its text.
///
/// ```
/// use running_process::HandlerError;
/// use running_process::broker::backend_sdk::AsyncServerRequest;
///
/// async fn build(request: AsyncServerRequest) -> Result<Vec<u8>, HandlerError> {
///     for step in ["compiling", "linking"] {
///         request.send_event(step).await?; // ends the handler if the client does not wait any more
///     }
///     Ok(request.payload().to_ascii_uppercase())
/// }
/// # let _ = |server: running_process::broker::backend_sdk::AsyncServer| server.serve(0xF00D, build);
/// ```
#[derive(Debug)]
pub struct AsyncServerRequest {
    parts: RequestParts,
    conn: Arc<AsyncConn>,
    call: CallId,
}

impl AsyncServerRequest {
    request_methods!(parts);

    /// Sends an event under the id of this request, ahead of its answer: a part of a long answer, or progress. Waits while
    /// the client leaves [`send_high_water`](crate::broker::backend_sdk::ServerConfig::send_high_water) bytes unread.
    ///
    /// # Errors
    ///
    /// Nothing was sent: the payload is too large, or the client does not wait for the answer any more.
    pub async fn send_event(&self, payload: impl AsRef<[u8]>) -> Result<(), SendEventError> {
        let payload = payload.as_ref();
        let sent = self.conn.once_writable(self.call, |session| session.send_event(self.call, payload)).await;
        self.conn.driver.wake();
        sent
    }

    /// Sends an event as [`send_event`](Self::send_event) does, with the descriptors of `payload`. A large payload is not copied. If
    /// it is a file and the client takes no descriptors, its bytes are sent.
    ///
    /// # Errors
    ///
    /// As [`send_event`](Self::send_event), and if the client does not take so many descriptors.
    pub async fn send_event_payload(&self, payload: impl Into<Payload>) -> Result<(), SendEventError> {
        let payload = payload.into();
        self.conn.once_writable(self.call, |_| ()).await;
        let (payload, reserved) = match unread(&payload, self.accepted_descriptors())? {
            None => (Ok(payload), 0),
            Some(length) => {
                let reserved = Reserved::new(&self.conn, self.call, length)?;
                let read = move || (read_file(&payload, length).map_err(SendEventError::from), reserved);
                match Background::spawn(read) {
                    Ok(reading) => {
                        let (read, reserved) = reading.await;
                        (read, reserved.into_bytes())
                    }
                    Err(error) => (Err(FramingError::from(error).into()), 0),
                }
            }
        };
        let sent = self.conn.session().send_reserved_event(self.call, payload, reserved);
        self.conn.driver.wake();
        sent
    }
}

/// Bytes that a request is charged with while a file is read for an event of it. They are released when this is dropped: by the thread
/// that reads, if the handler has given the event up.
struct Reserved {
    conn: Arc<AsyncConn>,
    call: CallId,
    bytes: usize,
}

impl Reserved {
    fn new(conn: &Arc<AsyncConn>, call: CallId, bytes: usize) -> Result<Self, SendEventError> {
        conn.session().reserve(call, bytes)?;
        Ok(Self { conn: Arc::clone(conn), call, bytes })
    }

    /// Returns the number of bytes, which the caller releases.
    fn into_bytes(mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.conn.session().unreserve(self.call, self.bytes);
    }
}

/// Runs the handler of a request in the task that polls this, once the peer has read enough.
pub(super) async fn serve(conn: Arc<AsyncConn>, dispatched: Dispatched<AsyncHandler>) {
    conn.once_writable(dispatched.call(), |_| ()).await;
    Serving::new(conn, dispatched).await;
}

/// Runs the handler of a request up to its first wait, in the task of the connection, which then looks for its answer.
/// Returns the rest, for another task to poll, if the handler waits, and whether the next request may be served so as well:
/// `until` has not passed, and the peer reads.
pub(super) fn serve_in_place(
    conn: Arc<AsyncConn>,
    dispatched: Dispatched<AsyncHandler>,
    until: Instant,
) -> (Option<Serving>, bool) {
    let mut serving = Serving::new(conn, dispatched);
    let served = serving.poll_handler(&mut Context::from_waker(Waker::noop()));
    let at = now();
    if served.is_pending() {
        return (Some(serving), at < until);
    }
    let is_full = serving.finish(at);
    (None, at < until && !is_full)
}

/// A handler that serves a request, for as long as the client waits. The request ends when this is dropped.
pub(super) struct Serving {
    /// `None` if the request was cancelled before the handler began, or if the handler panicked instead of returning a future.
    future: Option<Guarded<dyn HandlerFuture>>,
    /// The reading of the file that is the answer, outside of the runtime's own threads.
    reading: Option<Background<Answer>>,
    answer: Answer,
    accepted_descriptors: usize,
    cancellation: Cancellation,
    span: RequestSpan,
    conn: Arc<AsyncConn>,
    /// `None` once the request has ended.
    call: Option<CallId>,
}

impl Serving {
    fn new(conn: Arc<AsyncConn>, dispatched: Dispatched<AsyncHandler>) -> Self {
        let (id, answer) = (dispatched.call(), Answer::Abandoned);
        let (handler, parts, span) = dispatched.into_parts();
        let cancellation = parts.cancellation();
        let accepted_descriptors = parts.accepted_descriptors();
        let (future, reading, call) = (None, None, Some(id));
        let mut serving =
            Self { future, reading, answer, accepted_descriptors, cancellation, span, conn, call };
        if serving.cancellation.get().is_none() {
            let request = AsyncServerRequest { parts, conn: Arc::clone(&serving.conn), call: id };
            let future = serving.span.in_scope(|| callback::run(|| handler(request)));
            serving.future = future.map(Guarded::new);
            if serving.future.is_none() {
                serving.answer = Answer::Panicked;
            }
        }
        serving
    }

    fn poll_handler(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(future) = &mut self.future {
            let poll = || future.poll_by(|future| future.poll_answer(context));
            self.answer = match ready!(self.span.in_scope(poll)) {
                Some(Ok(payload)) => match unread_answer(&payload, self.accepted_descriptors) {
                    Ok(None) => Answer::Payload(payload),
                    Ok(Some(length)) => self.begin_reading(payload, length),
                    Err(error) => Answer::Failed(error),
                },
                Some(Err(error)) => Answer::Failed(error),
                None => Answer::Panicked,
            };
        }
        if let Some(reading) = &mut self.reading {
            self.answer = ready!(Pin::new(reading).poll(context));
            self.reading = None;
        }
        Poll::Ready(())
    }

    /// Begins to read `length` bytes of the file that `payload` is, if there is memory for them. Returns the answer until it is read.
    fn begin_reading(&mut self, payload: Payload, length: usize) -> Answer {
        let future = self.future.take();
        self.span.in_scope(|| drop(future));
        if let Some(call) = self.call
            && self.conn.session().reserve(call, length).is_ok()
        {
            let reading = Background::spawn(move || match read_file(&payload, length) {
                Ok(payload) => Answer::Payload(payload),
                Err(error) => Answer::Failed(error.into()),
            });
            match reading {
                Ok(reading) => self.reading = Some(reading),
                Err(error) => {
                    self.conn.session().report(&ServeError::NoThread(error));
                    let message = "the daemon can make no thread that reads the file of the answer";
                    // The handler has run.
                    return Answer::Failed(Refusal::new(RefusalReason::HandlerFailed, message).into());
                }
            }
        }
        Answer::Abandoned
    }

    /// Ends the request at `at`. Returns whether the peer leaves so much unread that no handler begins for it.
    fn finish(&mut self, at: Instant) -> bool {
        let (future, answer) = (self.future.take(), std::mem::replace(&mut self.answer, Answer::Abandoned));
        let Self { span, conn, call, .. } = self;
        span.in_scope(|| {
            // The future ends before the request does.
            drop(future);
            let mut session = conn.session();
            if let Some(call) = call.take() {
                session.finish(call, answer, at);
            }
            session.is_full()
        })
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // While a file is read, the memory for it stays charged.
        if self.reading.is_none() && self.cancellation.poll(context).is_ready() {
            return Poll::Ready(());
        }
        self.poll_handler(context)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.call.is_some() {
            self.finish(now());
            self.conn.driver.wake();
        }
    }
}
