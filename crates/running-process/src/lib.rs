//! One local endpoint for a backend daemon: its legacy wire, identity probes and framed requests.

pub mod broker;
#[cfg(feature = "host")]
mod sys;
#[cfg(feature = "host")]
mod transport;

/// The code in the documents: compiled, and run where it needs no daemon.
#[cfg(all(doctest, feature = "host"))]
mod documents {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/integrate.md")]
    mod integrate {}
}
