//! The identity of a daemon, the probe that asks for it, the proof by the operating system, and the identity file.

#[cfg(feature = "host")]
pub(crate) mod digest;
mod disable;
pub mod identity;
#[cfg(feature = "host")]
pub(crate) mod identity_file;
pub mod judge;
pub mod probe;
#[cfg(feature = "host")]
pub mod verify;

pub use disable::DISABLE_VARIABLE;
#[cfg(feature = "host")]
pub use disable::is_disabled;
