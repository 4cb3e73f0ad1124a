//! The C interface of `running-process`: the sans-io core, for daemons that are written in C, C++, Go, Zig or another language.
//!
//! A daemon keeps its sockets and its event loop. For each connection it asks [`rp_mux_poll`] for the meaning of the bytes that
//! have arrived, answers probes with [`rp_mux_answer`], and encodes its frames. `docs/c.md` is the manual, and
//! `examples/c/adopt.c` a complete daemon.
//!
//! # Rules of every function
//!
//! - No panic crosses the boundary: it is caught, and the function returns [`Status::Panic`].
//! - Pointers may be null where the function says so; elsewhere null is [`Status::NullPointer`].
//! - Bytes are read within their length and never written. An empty slice may have a null pointer.
//! - Output goes to memory of the caller. If that is too small, nothing is written, the needed length is stored, and the
//!   function returns [`Status::BufferTooSmall`]. It must not overlap with input.
//! - Nothing is kept of the caller's memory after a function returns, except the detector and its context in a mux.
#![allow(unsafe_code, reason = "a C interface takes pointers; each block has its reason")]

mod boundary;
mod frame;
#[cfg(feature = "host")]
mod host;
mod identity;
mod mux;
mod refusal;
mod status;

pub use boundary::Bytes;
pub use frame::{
    FRAME_OVERHEAD, Kind, MAX_FRAME, RpFrame, rp_frame_check, rp_frame_decode, rp_frame_encode,
    rp_frame_encode_around, rp_frame_response,
};
#[cfg(feature = "host")]
pub use host::{rp_identity_file_remove, rp_identity_file_write, rp_identity_observe};
pub use identity::{
    Identity, IdentityFields, rp_identity_decode, rp_identity_encode, rp_identity_free, rp_identity_new,
};
pub use mux::{
    Detector, Legacy, Mux, Poll, Verdict, rp_mux_answer, rp_mux_free, rp_mux_new, rp_mux_poll,
    rp_mux_poll_framed,
};
pub use refusal::{REFUSAL_OVERHEAD, Reason, RpRefusal, rp_refusal_encode};
pub use status::{Status, rp_status_message};

/// The version of this interface. It changes with every change that a compiled program would notice.
pub const ABI_VERSION: u32 = 1;

/// Returns the version of the interface that the library was built with. A program compares it with `RP_ABI_VERSION` of its
/// header when it starts.
#[unsafe(no_mangle)]
pub extern "C" fn rp_abi_version() -> u32 {
    ABI_VERSION
}
