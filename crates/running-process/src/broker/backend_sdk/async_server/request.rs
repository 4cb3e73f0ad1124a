//! A request in the hands of an asynchronous handler.

use super::Handling;
use super::link::{Abandon, Concurrent, Link};
use crate::broker::backend_sdk::server::observe::RequestSpan;
use crate::broker::backend_sdk::server::session::Cancel;
use crate::broker::backend_sdk::{CallId, HandlerError, IncomingRequest, Payload, SendEventError};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// A request and its way back, for an asynchronous handler.
#[derive(Debug)]
pub struct AsyncRequest {
    incoming: IncomingRequest,
    link: Arc<Link>,
    call: CallId,
}

impl AsyncRequest {
    /// What the client sent, to keep or to answer with; it is not copied.
    #[must_use]
    pub fn into_payload(self) -> Vec<u8> {
        self.incoming.into_payload()
    }

    /// Sends an event under the id of this request, ahead of its answer: a part of a long answer, or progress. Waits while
    /// the client leaves [`ServerConfig::enough_output`](crate::broker::backend_sdk::ServerConfig::enough_output) unread.
    ///
    /// # Errors
    ///
    /// Nothing was sent: the payload is too large, or nobody waits for the answer any more.
    pub async fn send_event(&self, payload: impl AsRef<[u8]>) -> Result<(), SendEventError> {
        self.link.send_event(self.call, payload.as_ref()).await
    }
}

impl Deref for AsyncRequest {
    type Target = IncomingRequest;

    fn deref(&self) -> &IncomingRequest {
        &self.incoming
    }
}

/// Has the handler of `call` serve it, in the task that polls this.
pub(super) async fn serve(link: Arc<Link>, call: Concurrent) {
    Serving::new(link, call).await;
}

/// Has the handler of `call` serve it up to its first wait, in the task of the connection, which then goes on. What is left
/// of it, if it waits, is to be polled by another task.
pub(super) fn serve_at_once(link: Arc<Link>, call: Concurrent) -> Option<Serving> {
    let serve = || {
        let mut serving = Serving::new(link, call);
        serving.ending.rings = false;
        let served = serving.poll_handler(&mut Context::from_waker(Waker::noop()));
        serving.ending.rings = true;
        served.is_pending().then_some(serving)
    };
    // After a panic the call has ended with it.
    catch_unwind(AssertUnwindSafe(serve)).ok().flatten()
}

/// A handler at work, for as long as somebody waits.
pub(super) struct Serving {
    /// `None` if nobody waited any more when it was to begin.
    handling: Option<Handling>,
    cancel: Abandon,
    ending: Ending,
}

impl Serving {
    fn new(link: Arc<Link>, call: Concurrent) -> Self {
        let Concurrent { call, handler, request, cancel, span } = call;
        let payload_protocol = request.frame().payload_protocol;
        let request = AsyncRequest { incoming: request, link: Arc::clone(&link), call };
        let ending = Ending { link, call, payload_protocol, answer: None, span, rings: true };
        let handling = (!cancel.is_cancelled()).then(|| ending.span.in_scope(|| handler(request)));
        Self { handling, cancel, ending }
    }

    fn poll_handler(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { handling, ending, .. } = self;
        if let Some(handling) = handling {
            ending.answer = Some(ready!(ending.span.in_scope(|| handling.as_mut().poll(context))));
        }
        Poll::Ready(())
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.cancel.is_given(context.waker()) {
            return Poll::Ready(());
        }
        self.poll_handler(context)
    }
}

/// What the handler leaves behind is dropped before the call ends.
impl Drop for Serving {
    fn drop(&mut self) {
        let handling = self.handling.take();
        self.ending.span.in_scope(|| drop(handling));
    }
}

/// Ends the call when it is dropped: with the answer, with a panic, or, if nobody waits any more or the runtime ends, with
/// nothing.
struct Ending {
    link: Arc<Link>,
    call: CallId,
    payload_protocol: u32,
    answer: Option<Result<Payload, HandlerError>>,
    span: RequestSpan,
    /// Whether the task of the connection has to be told.
    rings: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let service = &self.link.shared.service;
        let answer = self.answer.take();
        let answer = self.span.in_scope(|| match answer {
            Some(answer) => answer.map_err(|error| service.failed(self.payload_protocol, error)),
            None if std::thread::panicking() => Err(service.panicked()),
            // It goes nowhere.
            None => Ok(Payload::default()),
        });
        self.link.finish(self.call, answer);
        if self.rings {
            self.link.bell.ring();
        }
    }
}
