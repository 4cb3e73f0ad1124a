//! The client on tokio.

mod client;
mod driver;
mod limit;
mod queue;
mod response_stream;
mod sync;

pub use client::{AsyncFrameClient, FrameEvents};
pub use response_stream::AsyncResponseStream;
