//! Requests with descriptors.

use super::client::AsyncFrameClient;
use super::queue::{Outcome, Unsent};
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::descriptor_request::{DESCRIPTOR_PROBE, probe};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::file_payload::bytes_of_file;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::runtime_clock::now;
use std::sync::Arc;

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
        let payload = match bytes_of_file(payload) {
            Ok(payload) => payload,
            Err(error) => return Ok(Err(FrameClientError::Request(Arc::new(error)))),
        };
        if payload.descriptor_count() == 0 || self.queue().daemon_descriptors() > 0 {
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
        let asked = asked.and_then(|_| CallDeadline::new(deadline.at, now).check());
        Ok(asked.map(|()| payload))
    }
}
