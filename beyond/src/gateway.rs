//! The daemon's side: hands requests over, and refuses what no worker answers.

use crate::{SILENCE, Subjects, header, state};
use async_nats::{Client, HeaderMap, StatusCode, Subject};
use futures_util::StreamExt;
use running_process::broker::backend_sdk::AsyncServerRequest;
use running_process::broker::protocol::RefusalReason;
use running_process::{HandlerError, Refusal};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// The number of workers that a request is handed to, one after the other.
const ATTEMPTS: usize = 3;
/// The hint with a refusal when no worker is free.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Hands the requests of a daemon to workers.
#[derive(Clone, Debug)]
pub struct Gateway {
    client: Client,
    subjects: Subjects,
}

/// The outcome of one attempt.
enum Attempt {
    Answered(Vec<u8>),
    Failed(String),
    Busy,
    /// The worker fell silent.
    Lost,
    NoWorker,
}

impl Gateway {
    /// Returns a gateway to the workers of a service.
    #[must_use]
    pub fn new(client: Client, subjects: Subjects) -> Self {
        Self { client, subjects }
    }

    /// Returns the answer of a worker to `request`. If this future is dropped, as the server does after a cancel and at the deadline,
    /// the worker is told.
    ///
    /// # Errors
    ///
    /// A refusal: the worker failed, none was free, or each one that had the request fell silent.
    pub async fn hand_over(&self, request: AsyncServerRequest) -> Result<Vec<u8>, HandlerError> {
        let deadline = request.deadline();
        let mut headers = HeaderMap::new();
        let traceparent = request.frame().traceparent.as_str();
        // A header takes no line break; a trace context has none.
        if !traceparent.is_empty() && traceparent.bytes().all(|byte| byte.is_ascii_graphic()) {
            headers.insert(header::TRACEPARENT, traceparent);
        }
        let payload = request.into_payload();
        let mut last = Attempt::NoWorker;
        for _ in 0..ATTEMPTS {
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now()).as_millis();
                headers.insert(header::TIMEOUT_MS, left.to_string().as_str());
            }
            let outcome = self.attempt(headers.clone(), payload.clone()).await;
            last = outcome.map_err(|error| not_handed_over(&error))?;
            match last {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Failed(reason) => {
                    return Err(Refusal::new(RefusalReason::HandlerFailed, reason).into());
                }
                Attempt::NoWorker => break,
                Attempt::Busy | Attempt::Lost => {}
            }
        }
        Err(match last {
            Attempt::Lost => {
                Refusal::new(RefusalReason::HandlerFailed, "the workers that had the request are gone")
            }
            Attempt::NoWorker => {
                Refusal::new(RefusalReason::Overloaded, "no worker").retry_after(RETRY_AFTER)
            }
            _ => Refusal::new(RefusalReason::Overloaded, "no worker is free").retry_after(RETRY_AFTER),
        }
        .into())
    }

    /// Hands the request to one worker.
    async fn attempt(&self, headers: HeaderMap, payload: Vec<u8>) -> Result<Attempt, async_nats::Error> {
        let inbox = Subject::from(self.client.new_inbox());
        let mut replies = self.client.subscribe(inbox.clone()).await?;
        let subject = self.subjects.requests.clone();
        self.client.publish_with_reply_and_headers(subject, inbox.clone(), headers, payload.into()).await?;
        let mut cancel = CancelOnDrop { gateway: self, request: Some(inbox) };
        loop {
            let Ok(reply) = timeout(SILENCE, replies.next()).await else { return Ok(Attempt::Lost) };
            let Some(reply) = reply else { return Err("the connection to NATS was closed".into()) };
            let is_unserved = reply.status == Some(StatusCode::NO_RESPONDERS);
            let state = reply.headers.as_ref().and_then(|headers| headers.get(header::STATE));
            let attempt = match state.map(async_nats::HeaderValue::as_str) {
                _ if is_unserved => Attempt::NoWorker,
                Some(state::WORKING) => continue,
                Some(state::ANSWERED) => Attempt::Answered(reply.payload.into()),
                Some(state::FAILED) => Attempt::Failed(String::from_utf8_lossy(&reply.payload).into_owned()),
                Some(state::BUSY) => Attempt::Busy,
                _ => return Err("a reply of a kind that this daemon does not know".into()),
            };
            cancel.request = None;
            return Ok(attempt);
        }
    }
}

/// Returns the refusal of a request that could not be handed over.
fn not_handed_over(error: &async_nats::Error) -> HandlerError {
    Refusal::new(RefusalReason::HandlerFailed, format!("not handed over: {error}")).into()
}

/// Tells the worker that nothing waits for its answer any more.
struct CancelOnDrop<'a> {
    gateway: &'a Gateway,
    /// `None` once a worker has ended the request.
    request: Option<Subject>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the worker works in vain.
        if let (Some(request), Ok(runtime)) = (self.request.take(), Handle::try_current()) {
            let Gateway { client, subjects } = self.gateway.clone();
            runtime.spawn(async move {
                if let Err(error) = client.publish(subjects.cancels, request.to_string().into()).await {
                    eprintln!("a cancel was not sent: {error}");
                }
            });
        }
    }
}
