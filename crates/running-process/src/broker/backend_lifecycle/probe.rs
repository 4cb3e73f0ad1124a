//! The identity probe: a client sends 32 random bytes, and the daemon answers with them and its identity.
//!
//! Both sides are values that take and return frames; [`handle_endpoint_probe`] and `BackendHandle` drive them over a
//! connection. An answer alone proves nothing: any process that has read the identity can give it.

#[cfg(feature = "tokio")]
mod asynchronous;
mod client;
#[cfg(feature = "host")]
mod driver;
mod envelope;
#[cfg(feature = "host")]
mod error;
#[cfg(feature = "host")]
mod exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod limits;
mod server;

#[cfg(feature = "tokio")]
pub(super) use asynchronous::exchange_async;
#[cfg(feature = "tokio")]
pub use asynchronous::probe_endpoint_async;
pub use client::{EndpointProbeChallenge, EndpointProbeError};
#[cfg(feature = "host")]
pub(super) use driver::exchange;
#[cfg(feature = "host")]
pub use driver::{DEFAULT_PROBE_TIMEOUT, ProbedEndpoint, probe_endpoint};
pub use envelope::ProbeEnvelopeError;
#[cfg(feature = "host")]
pub use error::{Absence, IdentityMismatch, PeerRole, PolicyRule, ProbeError};
#[cfg(feature = "host")]
pub(super) use exchange::{Exchange, Writer};
pub use limits::{MAX_PROBE_REQUEST_BYTES, PROBE_NONCE_BYTES};
pub use server::{
    EndpointProbeRequest, EndpointProbeRequestRef, EndpointProbeServerError,
    endpoint_probe_request_from_frame, endpoint_probe_response_frame, handle_endpoint_probe,
};
pub(crate) use server::{encode_probe_reply, probe_reply};
