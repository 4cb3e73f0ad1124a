//! The callers of a client, polled by hand: a caller may be slow, or drop its future at any time.

use crate::stream::SERVED;
use running_process::broker::backend_sdk::{
    AsyncFrameClient, AsyncResponseStream, FrameClientError, Payload, ReconnectError, Reply, RequestOptions,
};
use running_process::{Frame, ReconnectingClient};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The client under test.
#[derive(Clone, Debug)]
pub(super) enum Client {
    Reconnecting(ReconnectingClient),
    /// It has one connection, or follows its daemon.
    Connected(AsyncFrameClient),
}

/// The way in which a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Response,
    Reply,
    Stream,
    /// On the connection that a client that reconnects has now.
    OnConnection,
}

/// The payload of a response or of an event, and the number of its descriptors.
pub(super) type Part = (Vec<u8>, usize);

#[derive(Debug)]
pub(super) struct Answered {
    pub(super) events: Vec<Part>,
    pub(super) response: Result<Part, ReconnectError>,
}

fn part(mut reply: Reply) -> Part {
    let descriptors = reply.take_descriptors().len();
    (reply.into_frame().payload, descriptors)
}

/// Returns the part of a frame whose descriptors were not asked for.
fn bare(frame: Frame) -> Part {
    (frame.payload, 0)
}

async fn read(mut stream: AsyncResponseStream, events: &mut Vec<Part>) -> Result<Part, FrameClientError> {
    while let Some(event) = stream.next_event_reply().await? {
        events.push(part(event));
    }
    stream.response_reply().await.map(part)
}

impl Client {
    pub(super) async fn ask(self, kind: Kind, payload: Payload, options: RequestOptions) -> Answered {
        let mut events = Vec::new();
        let response = match &self {
            Self::Reconnecting(client) => reconnecting(client, kind, payload, &options, &mut events).await,
            Self::Connected(client) => {
                connected(client, kind, payload, &options, &mut events).await.map_err(ReconnectError::Request)
            }
        };
        Answered { events, response }
    }

    /// Returns the frames that come beside all requests, until the connection has ended.
    pub(super) async fn watch(self) -> Vec<Vec<u8>> {
        let connection = match self {
            Self::Reconnecting(client) => client.connection().await.ok(),
            Self::Connected(client) => Some(client),
        };
        let events = connection.and_then(|connection| connection.events());
        let mut seen = Vec::new();
        if let Some(mut events) = events {
            while let Some(Ok(frame)) = events.next().await {
                seen.push(frame.payload);
            }
        }
        seen
    }
}

async fn reconnecting(
    client: &ReconnectingClient,
    kind: Kind,
    payload: Payload,
    options: &RequestOptions,
    events: &mut Vec<Part>,
) -> Result<Part, ReconnectError> {
    match kind {
        Kind::Response => client.request_with(SERVED, payload, options).await.map(bare),
        Kind::Reply => client.request_reply(SERVED, payload, options).await.map(part),
        Kind::Stream => {
            let stream = client.request_streaming_with(SERVED, payload, options).await?;
            read(stream, events).await.map_err(ReconnectError::Request)
        }
        Kind::OnConnection => {
            let connection = client.connection().await?;
            let response = connection.request_with(SERVED, payload, options).await;
            response.map(bare).map_err(ReconnectError::Request)
        }
    }
}

async fn connected(
    client: &AsyncFrameClient,
    kind: Kind,
    payload: Payload,
    options: &RequestOptions,
    events: &mut Vec<Part>,
) -> Result<Part, FrameClientError> {
    match kind {
        Kind::Response | Kind::OnConnection => client.request_with(SERVED, payload, options).await.map(bare),
        Kind::Reply => client.request_reply(SERVED, payload, options).await.map(part),
        Kind::Stream => {
            let stream = client.request_streaming_with(SERVED, payload, options).await?;
            read(stream, events).await
        }
    }
}

/// A future that is polled once it was woken.
pub(super) struct Caller<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T> Caller<T> {
    pub(super) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    /// Polls the future if it was woken, and returns its output.
    pub(super) fn poll(&mut self) -> Option<T> {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}
