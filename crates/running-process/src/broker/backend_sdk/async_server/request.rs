//! A request in the hands of an asynchronous handler.

use super::link::{Concurrent, Link};
use crate::broker::backend_sdk::server::observe::RequestSpan;
use crate::broker::backend_sdk::server::session::Cancel;
use crate::broker::backend_sdk::{CallId, HandlerError, IncomingRequest, Payload, SendEventError};
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::task::Poll;

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

/// Has the handler of `call` serve it, for as long as somebody waits.
pub(super) async fn serve(link: Arc<Link>, call: Concurrent) {
    let Concurrent { call, handler, request, cancel, span } = call;
    let payload_protocol = request.frame().payload_protocol;
    let mut ending =
        Ending { link: Arc::clone(&link), call, payload_protocol, answer: None, span: span.clone() };
    if cancel.is_cancelled() {
        return;
    }
    let mut handling = span.in_scope(|| handler(AsyncRequest { incoming: request, link, call }));
    let answering = poll_fn(|context| {
        if cancel.is_given(context.waker()) {
            return Poll::Ready(None);
        }
        handling.as_mut().poll(context).map(Some)
    });
    ending.answer = span.instrument(answering).await;
}

/// Ends the call when it is dropped, after the handler's future: with the answer, with a panic, or, if nobody waits any more
/// or the runtime ends, with nothing.
struct Ending {
    link: Arc<Link>,
    call: CallId,
    payload_protocol: u32,
    answer: Option<Result<Payload, HandlerError>>,
    span: RequestSpan,
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
    }
}
