//! Bounds on the memory of a client, and on what it does in one step.

/// A client with this many unwritten bytes or more writes before it takes another request.
pub(super) const SEND_HIGH_WATER: usize = 64 * 1024;

/// The most bytes of events that a client keeps for its caller: payloads, trace context and [`Frame`](crate::broker::protocol::Frame)s.
///
/// While that many wait, or one event that is larger, the client reads nothing more. The bound is the same for the blocking and
/// the asynchronous client.
pub const MAX_WAITING_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// The default of [`FrameClient::set_response_limit`](super::FrameClient::set_response_limit), in bytes.
pub const DEFAULT_RESPONSE_LIMIT: usize = 64 * 1024 * 1024;
