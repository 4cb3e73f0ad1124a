//! Requests with descriptors, for every client: the daemon must have said how many it takes.

use super::error::FrameClientError;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::sys::random;
use std::sync::Arc;

/// The payload protocol of the request that asks a daemon how many descriptors it takes: a probe, which every daemon answers.
pub(super) const DESCRIPTOR_PROBE: u32 = BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;

/// Returns the payload of that request.
pub(super) fn probe() -> Result<Payload, FrameClientError> {
    let nonce: [u8; 32] = random().map_err(|error| FrameClientError::Stream(Arc::new(error)))?;
    Ok(nonce.into())
}

/// Checks that a daemon that takes `limit` descriptors takes `count`.
pub(super) fn taken(count: usize, limit: u8) -> Result<(), FrameClientError> {
    let limit = limit.into();
    if count <= limit { Ok(()) } else { Err(FrameClientError::DescriptorsNotTaken { count, limit }) }
}
