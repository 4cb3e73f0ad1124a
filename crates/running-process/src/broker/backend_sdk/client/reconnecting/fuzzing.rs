//! The client that reconnects for the fuzz targets, without a proof of its daemons.

use super::{ConnectFailure, ReconnectConfig, ReconnectingClient};
use crate::broker::backend_sdk::LocalStream;

/// Returns a client whose connections `connect` makes.
pub fn reconnecting_client<F>(
    connect: impl Fn() -> F + Send + Sync + 'static,
    config: ReconnectConfig,
) -> ReconnectingClient
where
    F: Future<Output = Result<LocalStream, ConnectFailure>> + Send + 'static,
{
    ReconnectingClient::with_connector(move || Box::pin(connect()), config)
}
