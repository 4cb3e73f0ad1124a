//! The handlers of the blocking server.

use super::adaptive::LatencyEstimate;
use super::legacy::LegacyConnection;
use super::request::ServerRequest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::handler::HandlerError;

/// The handler of a payload protocol.
pub(super) struct BlockingHandler {
    pub(super) serve: Box<dyn Fn(ServerRequest) -> Result<Payload, HandlerError> + Send + Sync>,
    pub(super) latency: LatencyEstimate,
}

/// The handler of the legacy wire.
pub(super) type LegacyHandler = Box<dyn Fn(LegacyConnection) + Send + Sync>;
