//! A daemon behind this one.

use crate::transport::Upstream;
use std::io;
use std::pin::Pin;

pub(in crate::broker) type Connecting = Pin<Box<dyn Future<Output = io::Result<Upstream>> + Send>>;

/// A daemon behind this one, to which the legacy wire is relayed.
pub(in crate::broker) trait Backend: Send + Sync + 'static {
    /// Connects to the daemon.
    fn connect(&self) -> Connecting;
}
