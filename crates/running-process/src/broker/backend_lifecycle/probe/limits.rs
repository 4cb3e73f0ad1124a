//! The sizes of a probe.

/// Length of a probe's nonce, in bytes.
pub const PROBE_NONCE_BYTES: usize = 32;
/// Largest body of a probe request, in bytes: the nonce, a trace context and room for later fields.
pub const MAX_PROBE_REQUEST_BYTES: usize = 4096;
