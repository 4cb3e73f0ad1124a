//! Clients against a peer that follows a script.

/// Each case once for each client.
macro_rules! cases {
    ($($case:ident)*) => {
        mod blocking {
            $(#[test] fn $case() { super::$case::<running_process::broker::backend_sdk::FrameClient>(); })*
        }
        #[cfg(feature = "tokio")]
        mod on_tokio {
            $(#[test] fn $case() { super::$case::<crate::frame_client::peer::OnTokio>(); })*
        }
    };
}

// The daemon of these tests is a socket of tokio, in paused time.
#[cfg(all(unix, feature = "tokio"))]
mod asynchronous;
mod blocking;
mod events;
#[cfg(all(unix, feature = "tokio"))]
mod moving;
pub(crate) mod peer;
mod suite;
#[cfg(unix)]
mod unwritten;
