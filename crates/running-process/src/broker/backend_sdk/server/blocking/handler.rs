//! The handlers of the blocking server.

use super::legacy::LegacyConnection;
use super::request::ServerRequest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::handler::HandlerError;

pub(super) type ConcurrentHandler = dyn Fn(&ServerRequest) -> Result<Payload, HandlerError> + Send + Sync;
pub(super) type LegacyHandler = Box<dyn Fn(LegacyConnection) + Send + Sync>;
