//! Who is measured: each party's server and client, doing the same work.
//!
//! A server is a process of its own, this program once more. All of them run like this: blocking ones with a thread for
//! each connection, those on tokio in a runtime of one thread, and so do the clients.

pub mod codec;
pub mod ours;
pub mod peer;
mod server;

pub use server::{Server, serve};

use std::sync::LazyLock;

/// The payload protocol of every frame here, one for private use.
pub const PROTOCOL: u32 = 0xF00D;

/// Requests that are in flight at once, where there are many.
pub const BATCH: usize = 64;

/// Length of the large response, in bytes.
pub const LARGE: usize = 1 << 20;

/// What is answered with the large response; everything else is sent back.
pub const LARGE_REQUEST: &[u8] = b"large";

pub fn large() -> &'static [u8] {
    static LARGE_RESPONSE: LazyLock<Vec<u8>> = LazyLock::new(|| vec![7; LARGE]);
    &LARGE_RESPONSE
}

/// The answer of every handler.
pub fn answer(request: &[u8]) -> Vec<u8> {
    if request == LARGE_REQUEST { large().to_vec() } else { request.to_vec() }
}

/// The runtime of every party on tokio.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
