//! A request in the hands of an asynchronous handler.

use super::conn::{Abandon, Concurrent, Link};
use super::handler::Handling;
use crate::broker::backend_sdk::server::callback::{self, Guarded};
use crate::broker::backend_sdk::server::session::Cancel;
use crate::broker::backend_sdk::server::telemetry::RequestSpan;
use crate::broker::backend_sdk::{CallId, HandlerError, IncomingRequest, Payload, SendEventError};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// A request and its way back, for an asynchronous handler.
#[derive(Debug)]
pub struct AsyncServerRequest {
    incoming: IncomingRequest,
    link: Arc<Link>,
    call: CallId,
}

impl AsyncServerRequest {
    /// What the client sent, to keep or to answer with; it is not copied.
    #[must_use]
    pub fn into_payload(self) -> Vec<u8> {
        self.incoming.into_payload()
    }

    /// Sends an event under the id of this request, ahead of its answer: a part of a long answer, or progress. Waits while
    /// the client leaves [`ServerConfig::send_high_water`](crate::broker::backend_sdk::ServerConfig::send_high_water) unread.
    ///
    /// # Errors
    ///
    /// Nothing was sent: the payload is too large, or nobody waits for the answer any more.
    pub async fn send_event(&self, payload: impl AsRef<[u8]>) -> Result<(), SendEventError> {
        self.link.send_event(self.call, payload.as_ref()).await
    }
}

impl Deref for AsyncServerRequest {
    type Target = IncomingRequest;

    fn deref(&self) -> &IncomingRequest {
        &self.incoming
    }
}

/// Runs the handler of `call`, in the task that polls this, once the peer has read enough.
pub(super) async fn serve(link: Arc<Link>, call: Concurrent) {
    link.room(call.call).await;
    Serving::new(link, call).await;
}

/// Has the handler of `call` serve it up to its first wait, in the task of the connection, which then goes on. What is left
/// of it, if it waits, is to be polled by another task.
pub(super) fn serve_at_once(link: Arc<Link>, call: Concurrent) -> Option<Serving> {
    let mut serving = Serving::new(link, call);
    serving.ending.rings = false;
    let served = serving.poll_handler(&mut Context::from_waker(Waker::noop()));
    serving.ending.rings = true;
    served.is_pending().then_some(serving)
}

/// A handler at work, for as long as somebody waits.
pub(super) struct Serving {
    /// `None` if the call was cancelled before it began, or if the handler panicked instead of giving a future.
    handling: Option<Guarded<dyn Handling>>,
    cancel: Abandon,
    ending: Ending,
}

impl Serving {
    fn new(link: Arc<Link>, call: Concurrent) -> Self {
        let Concurrent { call, handler, request, cancel, span } = call;
        let payload_protocol = request.frame().payload_protocol;
        let request = AsyncServerRequest { incoming: request, link: Arc::clone(&link), call };
        let mut ending =
            Ending { link, call, payload_protocol, outcome: Outcome::Nothing, span, rings: true };
        let mut handling = None;
        if !cancel.is_cancelled() {
            handling = ending.span.in_scope(|| callback::run(|| handler(request))).map(Guarded::new);
            if handling.is_none() {
                ending.outcome = Outcome::Panicked;
            }
        }
        Self { handling, cancel, ending }
    }

    fn poll_handler(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { handling, ending, .. } = self;
        if let Some(handling) = handling {
            let poll = || handling.poll_by(|handling| handling.poll_answer(context));
            let answer = ready!(ending.span.in_scope(poll));
            ending.outcome = answer.map_or(Outcome::Panicked, Outcome::Answer);
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

/// The way in which a call ended.
enum Outcome {
    /// The caller waits no more, or the runtime ends.
    Nothing,
    Answer(Result<Payload, HandlerError>),
    Panicked,
}

/// Ends the call when it is dropped.
struct Ending {
    link: Arc<Link>,
    call: CallId,
    payload_protocol: u32,
    outcome: Outcome,
    span: RequestSpan,
    /// Whether the task of the connection has to be told.
    rings: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let service = &self.link.shared.service;
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Nothing);
        let caller = || self.link.session().caller(self.call);
        let answer = self.span.in_scope(|| match outcome {
            Outcome::Answer(answer) => {
                answer.map_err(|error| service.failed(self.payload_protocol, error, caller))
            }
            Outcome::Panicked => Err(service.panicked(caller().peer)),
            // It goes nowhere.
            Outcome::Nothing => Ok(Payload::default()),
        });
        self.link.finish(self.call, answer);
        if self.rings {
            self.link.bell.ring();
        }
    }
}
