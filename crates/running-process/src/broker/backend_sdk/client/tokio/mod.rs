//! The client on tokio.

mod client;
mod descriptors;
mod driver;
mod frame_events;
mod queue;
mod response_stream;
mod sync;
mod timeout;

pub use client::AsyncFrameClient;
pub use frame_events::FrameEvents;
pub use response_stream::AsyncResponseStream;
