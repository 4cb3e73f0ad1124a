//! Private decoders and a private constructor, as the fuzz targets call them.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use crate::broker::backend_lifecycle::digest::fuzzing::{decode_digest_entry, encode_digest_entry};
pub use crate::broker::backend_lifecycle::probe::fuzzing::ProbeExchange;
#[cfg(feature = "tokio")]
pub use crate::broker::backend_sdk::fuzzing::reconnecting_client;
