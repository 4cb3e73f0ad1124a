//! Which process a daemon is: its identity, the probe that asks for it, and the proof that the operating system gives.

#[cfg(feature = "host")]
pub(crate) mod digest;
pub mod identity;
#[cfg(feature = "host")]
pub(crate) mod identity_file;
pub mod judge;
pub mod probe;
#[cfg(feature = "host")]
pub mod verify;

/// A client with this variable set to `1` skips probes and frames and uses the daemon's legacy path.
pub const DISABLE_VARIABLE: &str = "RUNNING_PROCESS_DISABLE";

/// Whether the environment of this process asks for the legacy path.
#[cfg(feature = "host")]
#[must_use]
pub fn is_disabled() -> bool {
    std::env::var_os(DISABLE_VARIABLE).is_some_and(|value| value == "1")
}
