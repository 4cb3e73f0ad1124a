//! Helpers of all tests of this binary: waiting in bounded time, frames on the wire, servers and processes that end with
//! their test.

#[cfg(unix)]
mod process;
mod server;
mod wait;
mod wire;

#[cfg(unix)]
pub(crate) use process::*;
pub(crate) use server::{TempEndpoint, TestServer, chain};
#[cfg(target_os = "linux")]
pub(crate) use wait::alone;
pub(crate) use wait::{Flag, Gate, GateKeeper, PATIENCE, eventually, join, next, soon, watched};
pub(crate) use wire::{
    echo, frames, needs_eight_bytes, read, read_frame, read_frames, read_to_end, refusal, request, write,
};

running_process::register_payload_protocol! {
    /// Protocol of a handler that answers with its payload in upper case.
    pub(crate) const SHOUT: u32 = 0xF00D;
    /// Protocol of a handler that answers with its payload reversed.
    pub(crate) const REVERSE: u32 = 0xF00E;
}
