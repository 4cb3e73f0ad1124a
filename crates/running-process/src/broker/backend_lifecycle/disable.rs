//! The switch that turns probes and frames off.

/// Name of the environment variable that, set to `1`, makes a client skip probes and frames and use the daemon's legacy path.
pub const DISABLE_VARIABLE: &str = "RUNNING_PROCESS_DISABLE";

/// Returns whether the environment of this process asks for the legacy path.
#[cfg(feature = "host")]
#[must_use]
pub fn is_disabled() -> bool {
    std::env::var_os(DISABLE_VARIABLE).is_some_and(|value| value == "1")
}
