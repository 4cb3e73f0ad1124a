//! The handlers of the asynchronous server.

use super::legacy::AsyncLegacyConnection;
use super::request::AsyncServerRequest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::handler::HandlerError;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of a handler. It is polled as it is: a future around it would drop it while its panic unwinds.
pub(super) trait Handling: Send {
    fn poll_answer(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Payload, HandlerError>>;
}

impl<F, R> Handling for F
where
    F: Future<Output = Result<R, HandlerError>> + Send,
    R: Into<Payload>,
{
    fn poll_answer(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Payload, HandlerError>> {
        self.poll(context).map(|answer| answer.map(R::into))
    }
}

pub(super) type AsyncHandler = dyn Fn(AsyncServerRequest) -> Pin<Box<dyn Handling>> + Send + Sync;
pub(super) type LegacyHandling = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type LegacyHandler = Box<dyn Fn(AsyncLegacyConnection) -> LegacyHandling + Send + Sync>;
