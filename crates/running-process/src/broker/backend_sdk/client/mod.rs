//! The clients.

mod blocking;
mod call_deadline;
mod descriptor_request;
mod error;
mod incoming;
mod limits;
#[cfg(feature = "tokio")]
mod reconnecting;
mod reply;
#[cfg(unix)]
mod reply_file;
mod request_options;
#[cfg(feature = "tokio")]
mod tokio;
mod write_at;

#[cfg(feature = "tokio")]
pub use self::tokio::{AsyncFrameClient, AsyncResponseStream, FrameEvents};
pub use blocking::{FrameClient, ResponseStream};
pub use error::FrameClientError;
pub use limits::{DEFAULT_RESPONSE_LIMIT, MAX_WAITING_EVENT_BYTES};
#[cfg(all(feature = "fuzzing", feature = "tokio"))]
pub(crate) use reconnecting::fuzzing;
#[cfg(feature = "tokio")]
pub use reconnecting::{ConnectFailure, ReconnectConfig, ReconnectError, ReconnectingClient};
pub use reply::Reply;
pub use request_options::RequestOptions;
