//! One local endpoint for a backend daemon: its legacy wire, identity probes and framed requests.

pub mod broker;
#[cfg(feature = "host")]
mod sys;
#[cfg(feature = "host")]
mod transport;
