//! Both clients behind one trait.

use super::PATIENCE;
use super::daemon::SERVED;
use running_process::broker::backend_sdk::{FrameClientError, LocalStream, Payload, Reply, RequestOptions};
use running_process::{Endpoint, Frame, FrameClient};
use std::os::fd::OwnedFd;

/// A client with a timeout.
pub(crate) trait Client: Sized {
    fn from_stream(stream: LocalStream) -> Self;

    fn request(&mut self, protocol: u32, payload: Payload) -> Result<Frame, FrameClientError>;

    fn request_reply(
        &mut self,
        protocol: u32,
        payload: Payload,
        options: &RequestOptions,
    ) -> Result<Reply, FrameClientError>;

    /// Returns the events and the response.
    fn stream(
        &mut self,
        payload: Payload,
        options: &RequestOptions,
    ) -> Result<(Vec<Reply>, Reply), FrameClientError>;

    fn connect(endpoint: &Endpoint) -> Self {
        Self::from_stream(LocalStream::connect(&endpoint.path).unwrap())
    }

    /// Sends `text` with `descriptors`, and returns the reply.
    fn ask(
        &mut self,
        text: &str,
        descriptors: impl IntoIterator<Item = OwnedFd>,
    ) -> Result<Reply, FrameClientError> {
        let payload = Payload::from(text.to_owned()).with_descriptors(descriptors);
        self.request_reply(SERVED, payload, &RequestOptions::new())
    }
}

impl Client for FrameClient {
    fn from_stream(stream: LocalStream) -> Self {
        let mut client = FrameClient::from_stream(stream);
        client.set_timeout(Some(PATIENCE));
        client
    }

    fn request(&mut self, protocol: u32, payload: Payload) -> Result<Frame, FrameClientError> {
        FrameClient::request(self, protocol, payload)
    }

    fn request_reply(
        &mut self,
        protocol: u32,
        payload: Payload,
        options: &RequestOptions,
    ) -> Result<Reply, FrameClientError> {
        FrameClient::request_reply(self, protocol, payload, options)
    }

    fn stream(
        &mut self,
        payload: Payload,
        options: &RequestOptions,
    ) -> Result<(Vec<Reply>, Reply), FrameClientError> {
        let mut stream = self.request_streaming_with(SERVED, payload, options)?;
        let mut events = Vec::new();
        while let Some(event) = stream.next_event_reply()? {
            events.push(event);
        }
        Ok((events, stream.response_reply()?))
    }
}

#[cfg(feature = "tokio")]
pub(crate) use on_tokio::OnTokio;

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::{
        Client, Frame, FrameClientError, LocalStream, PATIENCE, Payload, Reply, RequestOptions, SERVED,
    };
    use running_process::AsyncFrameClient;
    use tokio::runtime::{Builder, Runtime};

    pub(crate) struct OnTokio {
        client: AsyncFrameClient,
        runtime: Runtime,
    }

    impl Client for OnTokio {
        fn from_stream(stream: LocalStream) -> Self {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let client = runtime.block_on(async { AsyncFrameClient::from_stream(stream).unwrap() });
            Self { client, runtime }
        }

        fn request(&mut self, protocol: u32, payload: Payload) -> Result<Frame, FrameClientError> {
            let options = RequestOptions::new().with_timeout(PATIENCE);
            self.runtime.block_on(self.client.request_with(protocol, payload, &options))
        }

        fn request_reply(
            &mut self,
            protocol: u32,
            payload: Payload,
            options: &RequestOptions,
        ) -> Result<Reply, FrameClientError> {
            let options = options.clone().with_timeout(PATIENCE);
            self.runtime.block_on(self.client.request_reply(protocol, payload, &options))
        }

        fn stream(
            &mut self,
            payload: Payload,
            options: &RequestOptions,
        ) -> Result<(Vec<Reply>, Reply), FrameClientError> {
            let options = options.clone().with_timeout(PATIENCE);
            self.runtime.block_on(async {
                let mut stream = self.client.request_streaming_with(SERVED, payload, &options).await?;
                let mut events = Vec::new();
                while let Some(event) = stream.next_event_reply().await? {
                    events.push(event);
                }
                Ok((events, stream.response_reply().await?))
            })
        }
    }
}
