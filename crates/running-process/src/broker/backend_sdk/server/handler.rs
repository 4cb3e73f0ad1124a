//! The handlers of a server.

use super::request::InlineRequest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::Refusal;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The reason for which a handler has no response. `?` makes it from any error: from a [`Refusal`] it makes
/// [`Refused`](Self::Refused), from any other [`Failed`](Self::Failed).
///
/// ```
/// use running_process::broker::protocol::RefusalReason;
/// use running_process::{HandlerError, Refusal};
///
/// fn square(payload: &[u8]) -> Result<Vec<u8>, HandlerError> {
///     if payload.len() > 9 {
///         return Err(Refusal::new(RefusalReason::Overloaded, "at most 9 digits").into());
///     }
///     let number: u64 = std::str::from_utf8(payload)?.parse()?;
///     Ok((number * number).to_string().into())
/// }
///
/// assert_eq!(square(b"12")?, b"144");
/// assert!(matches!(square(b"1234567890"), Err(HandlerError::Refused(_)))); // the client is told the text
/// assert!(matches!(square(b"x"), Err(HandlerError::Failed(_)))); // the observer is told the error
/// # Ok::<_, HandlerError>(())
/// ```
#[non_exhaustive]
pub enum HandlerError {
    /// The client is told this refusal, and the observer nothing.
    Refused(Refusal),
    /// The client is told that the handler failed, without the text of the error; the observer gets the error.
    Failed(Box<dyn Error + Send + Sync>),
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        match error.into().downcast() {
            Ok(refusal) => Self::Refused(*refusal),
            Err(error) => Self::Failed(error),
        }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => fmt::Debug::fmt(refusal, formatter),
            Self::Failed(error) => fmt::Debug::fmt(error, formatter),
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => fmt::Display::fmt(refusal, formatter),
            Self::Failed(error) => fmt::Display::fmt(error, formatter),
        }
    }
}

pub(super) type InlineHandler = dyn Fn(&InlineRequest<'_>) -> Result<Payload, HandlerError> + Send + Sync;

/// The handler of one payload protocol.
pub(super) enum Handler<H: ?Sized> {
    /// Runs beside the connection.
    Concurrent(Arc<H>),
    /// Runs where the connection is read.
    Inline(Box<InlineHandler>),
    /// Answers with the counters of the server.
    Status,
}
