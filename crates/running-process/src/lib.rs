//! One local endpoint for a backend daemon: its legacy wire, identity probes and framed requests.

pub mod broker;
#[cfg(feature = "host")]
#[allow(dead_code)]
mod sys;
#[cfg(feature = "host")]
#[allow(dead_code, unused_imports, unreachable_pub)]
mod transport;
