use running_process::broker::backend_sdk::{FrameClientError, ReconnectError};
use running_process::broker::protocol::RefusalReason;
use std::error::Error;
use std::iter::successors;

/// The reason why a request has no answer, with its causes.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) text: String,
    /// The deadline of the request has passed.
    pub(super) is_late: bool,
}

impl Failure {
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_late: false }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let causes: Vec<_> =
            successors(Some(&error as &(dyn Error + 'static)), |error| (*error).source()).collect();
        let text = causes.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let frame_error = causes.iter().find_map(|error| error.downcast_ref::<FrameClientError>());
        let is_late = match frame_error {
            Some(FrameClientError::TimedOut { .. }) => true,
            Some(FrameClientError::Refused(refusal)) => refusal.reason() == RefusalReason::DeadlinePassed,
            _ => matches!(causes[0].downcast_ref(), Some(ReconnectError::NotInTime)),
        };
        Self { text, is_late }
    }
}
