//! The clients.

mod blocking;
mod error;
#[cfg(feature = "tokio")]
mod reconnecting;
mod request_options;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use self::tokio::{AsyncFrameClient, AsyncResponseStream, FrameEvents};
pub use blocking::{DEFAULT_ANSWER_LIMIT, FrameClient, MAX_WAITING_EVENT_BYTES, ResponseStream};
pub use error::FrameClientError;
#[cfg(feature = "tokio")]
pub use reconnecting::{NoDaemon, Reconnect, ReconnectError, ReconnectingClient};
pub use request_options::RequestOptions;
