//! The identity of a daemon: pure data, its two wire generations and its JSON form.
//!
//! Published peers identify an executable by its SHA-256 or by its BLAKE3; both are written, either is read.

#[cfg(feature = "host")]
mod current;
#[cfg(feature = "host")]
mod json;
mod origin;
mod wire;

pub(crate) use origin::started;
pub use origin::{INSTANCE_ID_BYTES, Origin};

use crate::broker::protocol::Endpoint;
use std::io;
use std::path::PathBuf;

/// The name that the wire gives to [`ExeDigests::blake3`].
pub const BLAKE3_ALGORITHM: &str = "blake3";

/// Length of either digest of an executable, in bytes.
pub const EXE_DIGEST_BYTES: usize = 32;

/// Digest of an executable file.
pub type ExeDigest = [u8; EXE_DIGEST_BYTES];

/// Which process a daemon is: paths and fixed-size digests.
///
/// Everything in it is public data that any process can repeat. A proof is what the kernel says of the process that does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonProcess {
    /// The process id, as the daemon itself sees it.
    pub pid: u32,
    /// The path of the executable.
    pub exe_path: PathBuf,
    /// What the executable file contained.
    pub exe_digests: ExeDigests,
    /// Which boot of the machine the process belongs to.
    pub boot_id: String,
    /// Where the daemon listens.
    pub ipc_endpoint: Endpoint,
    /// Wall-clock milliseconds since the Unix epoch when the identity was made: not the kernel's start time.
    pub started_at_unix_ms: u64,
    /// Seconds without work after which the daemon exits by itself.
    pub idle_timeout_secs: Option<u32>,
    /// Which run of the daemon this is; published peers do not say.
    pub origin: Option<Origin>,
}

impl DaemonProcess {
    /// The identity of a daemon whose listening socket was made by another process, such as a service manager.
    ///
    /// Without an [`origin`](Self::origin) this changes nothing: clients then cannot tell.
    #[must_use]
    pub fn with_inherited_listener(mut self) -> Self {
        if let Some(origin) = &mut self.origin {
            origin.inherited_listener = true;
        }
        self
    }
}

/// The digests of one executable; at least one is known.
///
/// A digest of 32 zero bytes is an absent one: peers that write only the BLAKE3 fill the field of the SHA-256 with zeros.
/// The accessors do not return it, so that it is neither compared nor written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExeDigests {
    /// As written by the first generation of peers.
    Sha256(ExeDigest),
    /// As some peers of the second generation write it.
    Blake3(ExeDigest),
    /// As this library writes it.
    Both {
        /// SHA-256, FIPS 180-4.
        sha256: ExeDigest,
        /// BLAKE3 with its default output length.
        blake3: ExeDigest,
    },
}

impl ExeDigests {
    /// Returns the digests that are known, if any is.
    #[must_use]
    pub fn from_known(sha256: Option<ExeDigest>, blake3: Option<ExeDigest>) -> Option<Self> {
        match (sha256.filter(is_present), blake3.filter(is_present)) {
            (Some(sha256), Some(blake3)) => Some(Self::Both { sha256, blake3 }),
            (Some(sha256), None) => Some(Self::Sha256(sha256)),
            (None, Some(blake3)) => Some(Self::Blake3(blake3)),
            (None, None) => None,
        }
    }

    /// Returns the SHA-256 of the file.
    #[must_use]
    pub fn sha256(&self) -> Option<&ExeDigest> {
        match self {
            Self::Sha256(sha256) | Self::Both { sha256, .. } => {
                Some(sha256).filter(|digest| is_present(digest))
            }
            Self::Blake3(_) => None,
        }
    }

    /// Returns the BLAKE3 of the file.
    #[must_use]
    pub fn blake3(&self) -> Option<&ExeDigest> {
        match self {
            Self::Blake3(blake3) | Self::Both { blake3, .. } => {
                Some(blake3).filter(|digest| is_present(digest))
            }
            Self::Sha256(_) => None,
        }
    }
}

/// Returns whether a field of the width of a digest has one in it.
fn is_present(digest: &ExeDigest) -> bool {
    *digest != [0; EXE_DIGEST_BYTES]
}

/// Why something is not a [`DaemonProcess`], or why the current process could not make its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A field that every generation writes is absent.
    #[error("identity has no {field}")]
    MissingField {
        /// Its name on the wire.
        field: &'static str,
    },
    /// A digest has another length than 32 bytes.
    #[error("identity field {field} is {length} bytes, a digest is {EXE_DIGEST_BYTES}")]
    DigestLength {
        /// Its name on the wire.
        field: &'static str,
        /// Its length, in bytes.
        length: usize,
    },
    /// The instance id on the wire has another length than 16 bytes.
    #[error("identity field instance_id is {length} bytes, an instance id is {INSTANCE_ID_BYTES}")]
    InstanceIdLength {
        /// Its length, in bytes.
        length: usize,
    },
    /// The instance id in the identity file is not 32 hexadecimal digits.
    #[error("identity field instance_id is {found:?}, an instance id is {} hexadecimal digits", 2 * INSTANCE_ID_BYTES)]
    InstanceIdDigits {
        /// The text as it came.
        found: String,
    },
    /// Every digest is 32 zero bytes, which stand for an absent one.
    #[error("identity has no digest: every digest in it is 32 zero bytes, which stand for an absent one")]
    ZeroDigests,
    /// The only digest is of an algorithm that this library does not know.
    #[error("identity names the digest algorithm {algorithm:?}, {BLAKE3_ALGORITHM:?} is known")]
    UnknownDigestAlgorithm {
        /// The name as it came.
        algorithm: String,
    },
    /// The bytes are not a protobuf `DaemonProcess`.
    #[error("identity cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// The executable of this process could not be opened or read.
    #[error("the executable of this process cannot be read")]
    Executable(#[source] io::Error),
    /// The operating system does not tell which boot this is.
    #[error("the boot of this machine cannot be identified")]
    BootId(#[source] io::Error),
    /// The operating system has no randomness for an instance id.
    #[error("no random instance id")]
    InstanceId(#[source] io::Error),
    /// The wall clock stands before the Unix epoch.
    #[error("the clock stands before 1970")]
    ClockBeforeEpoch,
}
