//! A daemon that follows a script, and the calls that every client has.

#[cfg(windows)]
use crate::support::TempEndpoint;
use crate::support::{SHOUT, join, next, soon, watched};
use prost::Message;
use running_process::broker::backend_sdk::{FrameClient, FrameClientError, LocalStream, RequestOptions};
#[cfg(windows)]
use running_process::broker::backend_sdk::{LocalListener, StopSignal};
#[cfg(unix)]
use running_process::broker::protocol::Endpoint;
use running_process::broker::protocol::{
    EncodingPolicy, Frame, FrameKind, FrameRef, Refusal, read_frame, registry,
};
use std::io::{self, ErrorKind, Read};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The daemon's end of a connection, whose reads and writes are bounded in time.
pub(crate) struct Peer(LocalStream);

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_deadline(buffer, Some(soon()))
    }
}

impl Peer {
    #[cfg(unix)]
    pub(crate) fn new(connection: impl Into<LocalStream>) -> Self {
        Self(connection.into())
    }

    /// The next frame from the client.
    pub(crate) fn receive(&mut self) -> Frame {
        Frame::decode(&read_frame(self).unwrap()[..]).unwrap()
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        self.send_borrowed(&frame.borrowed());
    }

    pub(crate) fn send_borrowed(&mut self, frame: &FrameRef<'_>) {
        let mut wire = Vec::new();
        frame.encode_framed(&mut wire).unwrap();
        self.write(&wire);
    }

    pub(crate) fn answer(&mut self, request: &Frame) {
        self.send(&shouted(request));
    }

    pub(crate) fn refuse(&mut self, request: &Frame, refusal: &Refusal) {
        let response = Frame::response_to(request, refusal.encode_to_vec());
        self.send(&Frame { payload_protocol: registry::CONTROL_PAYLOAD_PROTOCOL, ..response });
    }

    /// Writes bytes that need not be a frame.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all_deadline(bytes, Some(soon())).unwrap();
    }

    /// Asserts that the client has closed the connection and sent nothing more before.
    pub(crate) fn expect_end(&mut self) {
        match self.read(&mut [0]) {
            Ok(length) => assert_eq!(length, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
        }
    }

    #[cfg(unix)]
    pub(crate) fn into_socket(self) -> UnixStream {
        self.0.into()
    }
}

pub(crate) fn shouted(request: &Frame) -> Frame {
    Frame::response_to(request, request.payload.to_ascii_uppercase())
}

pub(crate) fn event(number: usize) -> Frame {
    let frame = Frame::request(SHOUT, number.to_string().into_bytes());
    Frame { kind: FrameKind::Event.into(), ..frame }
}

/// Returns an event of `request`.
pub(crate) fn event_of(request: &Frame, payload: Vec<u8>) -> Frame {
    Frame { kind: FrameKind::Event.into(), ..Frame::response_to(request, payload) }
}

/// The calls that the blocking and the asynchronous client have in common.
pub(crate) trait Client: Sized + Send + 'static {
    fn over(connection: LocalStream) -> Self;
    #[cfg(unix)]
    fn connect(endpoint: &Endpoint) -> Result<Self, FrameClientError>;
    fn set_encoding_policy(&mut self, policy: EncodingPolicy);
    fn is_usable(&self) -> bool;
    fn request(&mut self, payload: &[u8]) -> Result<Frame, FrameClientError>;
    /// Sends a request of another protocol than [`request`](Self::request).
    #[cfg(target_os = "linux")]
    fn request_of(&mut self, payload_protocol: u32, payload: &[u8]) -> Result<Frame, FrameClientError>;
    fn request_within(&mut self, payload: &[u8], timeout: Duration) -> Result<Frame, FrameClientError>;
    /// All of them in flight before any is answered.
    fn request_all(&mut self, payloads: &[&str]) -> Vec<Result<Frame, FrameClientError>>;
    fn request_with(&mut self, payload: &[u8], options: &RequestOptions) -> Result<Frame, FrameClientError>;
    /// Passes the payload of each event of a request to `take`, and returns the answer if `take` asks for it.
    fn stream(
        &mut self,
        payload: &[u8],
        options: &RequestOptions,
        take: impl FnMut(&[u8]) -> Take,
    ) -> Result<Option<Frame>, FrameClientError>;
    /// Drives the client's pending work until `end`.
    fn drive_until(&mut self, end: &Receiver<()>);
    /// Subscribes to events that belong to no request.
    fn want_events(&mut self);
    fn next_event(&mut self) -> Option<Result<Frame, FrameClientError>>;
}

/// The next step of a streamed request after an event.
pub(crate) enum Take {
    More,
    Answer,
    Nothing,
}

impl Client for FrameClient {
    fn over(connection: LocalStream) -> Self {
        Self::from_stream(connection)
    }

    #[cfg(unix)]
    fn connect(endpoint: &Endpoint) -> Result<Self, FrameClientError> {
        Self::connect(endpoint)
    }

    fn set_encoding_policy(&mut self, policy: EncodingPolicy) {
        self.set_encoding_policy(policy);
    }

    fn is_usable(&self) -> bool {
        self.is_usable()
    }

    fn request(&mut self, payload: &[u8]) -> Result<Frame, FrameClientError> {
        self.request(SHOUT, payload.to_vec())
    }

    #[cfg(target_os = "linux")]
    fn request_of(&mut self, payload_protocol: u32, payload: &[u8]) -> Result<Frame, FrameClientError> {
        self.request(payload_protocol, payload.to_vec())
    }

    fn request_within(&mut self, payload: &[u8], timeout: Duration) -> Result<Frame, FrameClientError> {
        self.set_timeout(Some(timeout));
        let response = self.request(SHOUT, payload.to_vec());
        self.set_timeout(None);
        response
    }

    fn request_all(&mut self, payloads: &[&str]) -> Vec<Result<Frame, FrameClientError>> {
        let requests: Vec<_> =
            payloads.iter().map(|payload| self.send(SHOUT, (*payload).to_owned()).unwrap()).collect();
        requests.into_iter().map(|request| self.wait(request)).collect()
    }

    fn request_with(&mut self, payload: &[u8], options: &RequestOptions) -> Result<Frame, FrameClientError> {
        self.request_with(SHOUT, payload.to_vec(), options)
    }

    fn stream(
        &mut self,
        payload: &[u8],
        options: &RequestOptions,
        mut take: impl FnMut(&[u8]) -> Take,
    ) -> Result<Option<Frame>, FrameClientError> {
        let mut stream = self.request_streaming_with(SHOUT, payload.to_vec(), options)?;
        while let Some(event) = stream.next_event()? {
            match take(&event.payload) {
                Take::More => {}
                Take::Answer => break,
                Take::Nothing => return Ok(None),
            }
        }
        stream.response().map(Some)
    }

    fn drive_until(&mut self, end: &Receiver<()>) {
        if cfg!(windows) {
            // There a cancel waits for the next call that writes.
            self.flush().unwrap();
        }
        next(end);
    }

    fn want_events(&mut self) {
        self.keep_events(true);
    }

    fn next_event(&mut self) -> Option<Result<Frame, FrameClientError>> {
        self.next_event()
    }
}

#[cfg(feature = "tokio")]
pub(crate) use on_tokio::OnTokio;

#[cfg(feature = "tokio")]
mod on_tokio {
    #[cfg(unix)]
    use super::Endpoint;
    use super::{
        Client, Duration, EncodingPolicy, Frame, FrameClientError, LocalStream, Receiver, RequestOptions,
        SHOUT, Take,
    };
    use running_process::broker::backend_sdk::{AsyncFrameClient, FrameEvents};
    use std::time::Instant;
    use tokio::runtime::{Builder, Runtime};

    /// The asynchronous client in a runtime of its own.
    pub(crate) struct OnTokio {
        client: AsyncFrameClient,
        events: Option<FrameEvents>,
        runtime: Runtime,
    }

    impl OnTokio {
        fn start(
            client: impl AsyncFnOnce() -> Result<AsyncFrameClient, FrameClientError>,
        ) -> Result<Self, FrameClientError> {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let client = runtime.block_on(client())?;
            Ok(Self { client, events: None, runtime })
        }
    }

    impl Client for OnTokio {
        fn over(connection: LocalStream) -> Self {
            Self::start(async || AsyncFrameClient::from_stream(connection)).unwrap()
        }

        #[cfg(unix)]
        fn connect(endpoint: &Endpoint) -> Result<Self, FrameClientError> {
            Self::start(async || AsyncFrameClient::connect(endpoint).await)
        }

        fn set_encoding_policy(&mut self, policy: EncodingPolicy) {
            self.client.set_encoding_policy(policy);
        }

        fn is_usable(&self) -> bool {
            self.client.is_usable()
        }

        fn request(&mut self, payload: &[u8]) -> Result<Frame, FrameClientError> {
            self.runtime.block_on(self.client.request(SHOUT, payload.to_vec()))
        }

        #[cfg(target_os = "linux")]
        fn request_of(&mut self, payload_protocol: u32, payload: &[u8]) -> Result<Frame, FrameClientError> {
            self.runtime.block_on(self.client.request(payload_protocol, payload.to_vec()))
        }

        fn request_within(&mut self, payload: &[u8], timeout: Duration) -> Result<Frame, FrameClientError> {
            let deadline = Instant::now() + timeout;
            self.runtime.block_on(self.client.request_deadline(SHOUT, payload.to_vec(), deadline))
        }

        fn request_all(&mut self, payloads: &[&str]) -> Vec<Result<Frame, FrameClientError>> {
            let started: Vec<_> = payloads
                .iter()
                .map(|payload| {
                    let (client, payload) = (self.client.clone(), payload.as_bytes().to_vec());
                    self.runtime.spawn(async move { client.request(SHOUT, payload).await })
                })
                .collect();
            started.into_iter().map(|request| self.runtime.block_on(request).unwrap()).collect()
        }

        fn request_with(
            &mut self,
            payload: &[u8],
            options: &RequestOptions,
        ) -> Result<Frame, FrameClientError> {
            self.runtime.block_on(self.client.request_with(SHOUT, payload.to_vec(), options))
        }

        fn stream(
            &mut self,
            payload: &[u8],
            options: &RequestOptions,
            mut take: impl FnMut(&[u8]) -> Take,
        ) -> Result<Option<Frame>, FrameClientError> {
            self.runtime.block_on(async {
                let mut stream = self.client.request_streaming_with(SHOUT, payload.to_vec(), options).await?;
                while let Some(event) = stream.next_event().await? {
                    match take(&event.payload) {
                        Take::More => {}
                        Take::Answer => break,
                        Take::Nothing => return Ok(None),
                    }
                }
                stream.response().await.map(Some)
            })
        }

        fn drive_until(&mut self, end: &Receiver<()>) {
            // The client's task runs only while the runtime is in `block_on`.
            self.runtime.block_on(async {
                while end.try_recv().is_err() {
                    tokio::task::yield_now().await;
                }
            });
        }

        fn want_events(&mut self) {
            self.events = self.client.events();
        }

        fn next_event(&mut self) -> Option<Result<Frame, FrameClientError>> {
            self.runtime.block_on(self.events.as_mut().expect("events are wanted").next())
        }
    }
}

/// A client whose daemon does what `script` says.
pub(crate) fn scripted<C: Client>(script: impl FnOnce(Peer) + Send + 'static) -> (C, JoinHandle<()>) {
    let (client, daemon) = pair();
    (C::over(client), thread::spawn(move || script(Peer(daemon))))
}

/// Returns both ends of a connection.
#[cfg(unix)]
fn pair() -> (LocalStream, LocalStream) {
    let (client, daemon) = UnixStream::pair().unwrap();
    (client.into(), daemon.into())
}

/// Returns both ends of a connection.
#[cfg(windows)]
fn pair() -> (LocalStream, LocalStream) {
    let temp = TempEndpoint::new();
    let listener = LocalListener::bind(&temp.endpoint.path).unwrap();
    let client = LocalStream::connect(&temp.endpoint.path).unwrap();
    let daemon = listener.accept(&StopSignal::new().unwrap()).unwrap().unwrap();
    (client, daemon)
}

/// Runs `client` against `script`, and both within the time that anyone has.
pub(crate) fn run<C: Client>(
    script: impl FnOnce(Peer) + Send + 'static,
    client: impl FnOnce(C) + Send + 'static,
) {
    let (frame_client, peer) = scripted(script);
    watched(move || client(frame_client));
    join(peer);
}
