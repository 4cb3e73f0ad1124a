//! Digests of an open executable: reads within a deadline, and a cache, so that a running image is read once.
//!
//! The file is read by position and never mapped into memory: a file that shrinks meanwhile is an error, not a signal.
//! A cached digest is found again by the state of the open file, never by its path. `rule.rs` decides which digests may
//! be cached.
//!
//! Start with [`digests_of`] and [`DigestCache`].

#[cfg(any(target_os = "linux", target_os = "android"))]
mod cache;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "digest/no_cache.rs"]
mod cache;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod disk;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod entry;
mod hash;
mod input;
mod key;
mod read;
#[cfg(any(test, target_os = "linux", target_os = "android"))]
mod rule;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system;

pub(crate) use cache::{Before, DigestCache};
#[cfg(all(feature = "fuzzing", any(target_os = "linux", target_os = "android")))]
pub(crate) use disk::fuzzing;
pub(crate) use hash::Wanted;
pub(crate) use input::{DigestError, GoOn};
#[cfg(feature = "tokio")]
pub(crate) use read::digests_of_async;
pub(crate) use read::{Digested, digests_of, digests_while};
