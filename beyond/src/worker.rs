//! The worker's side: takes requests, shows signs of life, and ends what was cancelled.

use crate::{SIGN_OF_LIFE, Subjects, WORKERS, header, state};
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The reason why a worker cannot go on.
pub type WorkerError = async_nats::Error;

/// Serves requests of a service, on any machine.
#[derive(Clone, Debug)]
pub struct Worker {
    client: Client,
    subjects: Subjects,
    most: usize,
}

impl Worker {
    /// Returns a worker that serves at most `most` requests at once.
    #[must_use]
    pub fn new(client: Client, subjects: Subjects, most: usize) -> Self {
        Self { client, subjects, most }
    }

    /// Serves requests by `handler` until `stop` ends, then answers what it has taken. The handler's future is dropped when its
    /// request is cancelled or its deadline has passed. `ready` is called once requests arrive.
    ///
    /// # Errors
    ///
    /// NATS refuses a subscription, or the connection to it is closed.
    pub async fn run<F, R>(
        self,
        handler: F,
        ready: impl FnOnce(),
        stop: impl Future<Output = ()>,
    ) -> Result<(), WorkerError>
    where
        F: Fn(Vec<u8>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<u8>, String>> + Send,
    {
        let mut cancels = self.client.subscribe(self.subjects.cancels.clone()).await?;
        let mut requests =
            self.client.queue_subscribe(self.subjects.requests.clone(), WORKERS.to_owned()).await?;
        self.client.flush().await?;
        ready();
        let mut jobs = Jobs {
            client: self.client,
            most: self.most,
            handler: Arc::new(handler),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            requests: HashMap::new(),
        };
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = jobs.tasks.join_next_with_id() => jobs.forget(&ended),
                request = requests.next() => jobs.begin(request.ok_or("the connection to NATS was closed")?),
                cancel = cancels.next() => {
                    // Requests that came before the cancel may still wait, the one of this cancel among them.
                    jobs.begin_arrived(&mut requests);
                    jobs.cancel(&cancel.ok_or("the connection to NATS was closed")?);
                }
            }
        }
        requests.unsubscribe().await?;
        jobs.begin_arrived(&mut requests);
        while let Some(ended) = jobs.tasks.join_next_with_id().await {
            jobs.forget(&ended);
        }
        jobs.client.flush().await?;
        Ok(())
    }
}

/// The requests that run.
struct Jobs<F> {
    client: Client,
    most: usize,
    handler: Arc<F>,
    tasks: JoinSet<()>,
    /// By the id of the request, the subject of its replies.
    running: HashMap<String, AbortHandle>,
    requests: HashMap<Id, String>,
}

impl<F, R> Jobs<F>
where
    F: Fn(Vec<u8>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<u8>, String>> + Send,
{
    fn begin(&mut self, request: Message) {
        // Without a place for replies nothing waits for them.
        let Some(id) = request.reply.clone() else { return };
        let (client, handler, replies) = (self.client.clone(), Arc::clone(&self.handler), id.clone());
        let is_free = self.running.len() < self.most;
        let task = self.tasks.spawn(async move {
            let served = if is_free {
                serve(&client, request, &replies, &*handler).await
            } else {
                reply(&client, &replies, state::BUSY, Vec::new()).await
            };
            if let Err(error) = served {
                eprintln!("a reply was not sent: {error}");
            }
        });
        if is_free {
            self.requests.insert(task.id(), id.to_string());
            self.running.insert(id.to_string(), task);
        }
    }

    /// Begins the requests that have arrived and were not taken yet.
    fn begin_arrived(&mut self, requests: &mut Subscriber) {
        while let Some(Some(request)) = requests.next().now_or_never() {
            self.begin(request);
        }
    }

    /// Ends a request, if it runs here.
    fn cancel(&mut self, cancel: &Message) {
        let id = str::from_utf8(&cancel.payload).ok();
        if let Some(task) = id.and_then(|id| self.running.get(id)) {
            task.abort();
        }
    }

    /// Forgets a task that has ended, also by a cancel or a panic of the handler: then the gateway hears no more of it.
    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Some(request) = self.requests.remove(&id) {
            self.running.remove(&request);
        }
    }
}

/// Serves one request, and shows signs of life meanwhile.
async fn serve<F, R>(
    client: &Client,
    request: Message,
    replies: &Subject,
    handler: &F,
) -> Result<(), WorkerError>
where
    F: Fn(Vec<u8>) -> R,
    R: Future<Output = Result<Vec<u8>, String>>,
{
    let time_left = request.headers.as_ref().and_then(|headers| headers.get(header::TIMEOUT_MS));
    let time_left = time_left.and_then(|milliseconds| milliseconds.as_str().parse().ok());
    let time_left = time_left.map_or(Duration::MAX, Duration::from_millis);
    let mut answer = pin!(timeout(time_left, handler(request.payload.into())));
    let mut life = interval(SIGN_OF_LIFE);
    life.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            answer = &mut answer => return match answer {
                Ok(Ok(answer)) => reply(client, replies, state::ANSWERED, answer).await,
                Ok(Err(reason)) => reply(client, replies, state::FAILED, reason.into_bytes()).await,
                // The daemon refuses the request at the same deadline.
                Err(_) => reply(client, replies, state::FAILED, b"the deadline has passed".to_vec()).await,
            },
            _ = life.tick() => reply(client, replies, state::WORKING, Vec::new()).await?,
        }
    }
}

async fn reply(client: &Client, replies: &Subject, state: &str, payload: Vec<u8>) -> Result<(), WorkerError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::STATE, state);
    Ok(client.publish_with_headers(replies.clone(), headers, payload.into()).await?)
}
