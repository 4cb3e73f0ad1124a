//! The identity of a daemon: pure data, its two wire generations and its JSON form.
//!
//! Published peers identify an executable by its SHA-256 or by its BLAKE3; both are written, either is read.

#[cfg(feature = "host")]
mod current;
mod daemon_process;
mod digests;
mod error;
mod fronted;
mod instance_id;
#[cfg(feature = "host")]
mod json;
mod limits;
mod origin;
mod wire;

pub use daemon_process::DaemonProcess;
pub use digests::{BLAKE3_ALGORITHM, EXE_DIGEST_BYTES, ExeDigest, ExeDigests};
pub use error::IdentityError;
pub use fronted::FrontedProcess;
pub use limits::MAX_VERSION_BYTES;
pub(crate) use origin::started;
pub use origin::{INSTANCE_ID_BYTES, Origin};
