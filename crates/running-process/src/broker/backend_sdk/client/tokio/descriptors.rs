//! Requests with descriptors.

use super::client::AsyncFrameClient;
use super::queue::{Outcome, Unsent};
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::descriptor_request::{DESCRIPTOR_PROBE, probe};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::file_payload::{read_file, unread_length};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::FramingError;
use crate::broker::runtime_clock::now;
use crate::sys::background::Background;
use std::sync::Arc;
use tokio::runtime::Handle;

impl AsyncFrameClient {
    /// Sends a request as [`exchange_until`](Self::exchange_until) does, whose payload has descriptors.
    pub(super) async fn exchange_descriptors(
        &self,
        payload_protocol: u32,
        payload: Payload,
        options: Option<&RequestOptions>,
        deadline: CallDeadline,
    ) -> Outcome {
        match self.with_descriptors(payload, deadline).await? {
            Ok(payload) => self.exchange_until(payload_protocol, payload, options, deadline).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Returns `payload` as the daemon can be sent it. If the daemon has not said yet how many descriptors it takes, asks it by a probe
    /// and waits for the answer.
    pub(in super::super) async fn with_descriptors(
        &self,
        payload: Payload,
        deadline: CallDeadline,
    ) -> Result<Result<Payload, FrameClientError>, Unsent> {
        let payload = match bytes_of_file_elsewhere(payload).await {
            Ok(payload) => payload,
            Err(error) => return Ok(Err(FrameClientError::Request(Arc::new(error)))),
        };
        if payload.descriptor_count() == 0 {
            return Ok(Ok(payload));
        }
        loop {
            let (link, takes) = self.queue().begin_descriptors();
            if takes > 0 {
                return Ok(Ok(payload));
            }
            let nonce = match probe() {
                Ok(nonce) => nonce,
                Err(error) => return Ok(Err(error)),
            };
            let options = RequestOptions::new().of_reply();
            let asked = match self.exchange_until(DESCRIPTOR_PROBE, nonce, Some(&options), deadline).await {
                Ok(asked) => asked,
                Err(Unsent { error, .. }) => return Err(Unsent { payload, error }),
            };
            match asked.and_then(|_| CallDeadline::new(deadline.at, now).check()) {
                // Only the probe was sent.
                Err(
                    FrameClientError::Closed | FrameClientError::NotReceived | FrameClientError::Stream(_),
                ) if self.queue().has_left(link) => {}
                Err(error) if !self.is_usable() => return Err(Unsent { payload, error }),
                asked => return Ok(asked.map(|()| payload)),
            }
        }
    }
}

/// Returns the payload with the bytes instead of the file, if it is one. Reads them on a thread of its own, if the caller has a
/// runtime.
async fn bytes_of_file_elsewhere(payload: Payload) -> Result<Payload, FramingError> {
    match (unread_length(&payload)?, Handle::try_current()) {
        (None, _) => Ok(payload),
        (Some(length), Err(_)) => read_file(&payload, length),
        (Some(length), Ok(_)) => Background::spawn(move || read_file(&payload, length))?.await,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::broker::protocol::FRAME_HEADER_BYTES;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn a_request_whose_daemon_ends_at_the_question_for_descriptors_is_unsent() {
        let (socket, mut daemon) = UnixStream::pair().unwrap();
        let ended = std::thread::spawn(move || daemon.read_exact(&mut [0; FRAME_HEADER_BYTES]).unwrap());
        let client = AsyncFrameClient::from_stream(socket).unwrap();
        let descriptor = tempfile::tempfile().unwrap().into();
        let payload = Payload::from("build").with_descriptors([descriptor]);
        let outcome = client.exchange(0xF00D, payload, None).await;
        let Err(Unsent { payload, error }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((&payload[..], payload.descriptor_count()), (&b"build"[..], 1));
        assert!(matches!(error, FrameClientError::Closed), "{error:?}");
        ended.join().unwrap();
    }
}
