//! Requests with descriptors.

use super::FrameClient;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::descriptor_request::{DESCRIPTOR_PROBE, probe, taken};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::file_payload::bytes_of_file;
use crate::broker::backend_sdk::proto::payload::Payload;
use std::sync::Arc;
use std::time::Instant;

impl FrameClient {
    /// Returns `payload` as the daemon can be sent it. If the daemon has not said yet how many descriptors it takes, asks it by a probe
    /// and waits for the answer.
    #[cold]
    pub(super) fn with_descriptors(
        &mut self,
        payload: Payload,
        deadline: CallDeadline,
    ) -> Result<Payload, FrameClientError> {
        let payload = bytes_of_file(payload).map_err(|error| FrameClientError::Request(Arc::new(error)))?;
        let count = payload.descriptor_count();
        if count > 0 && self.connection.daemon_descriptors() == 0 {
            let deadline = self.call_deadline(deadline.at);
            let head = RequestOptions::new().of_reply();
            let request = self
                .connection
                .send_payload(DESCRIPTOR_PROBE, probe()?, &head.head(deadline.unix_ms(), false))
                .map_err(|error| FrameClientError::Request(Arc::new(error)))?;
            self.wait_until(request, deadline)
                .inspect_err(|_| self.cancel_if_pending(request))
                .map_err(FrameClientError::of_unsent)?;
            CallDeadline::new(deadline.at, Instant::now).check()?;
        }
        taken(count, self.connection.daemon_descriptors()).map(|()| payload)
    }
}
