//! Reasons why there is no identity.

use super::digests::{BLAKE3_ALGORITHM, EXE_DIGEST_BYTES};
use super::limits::MAX_VERSION_BYTES;
use super::origin::INSTANCE_ID_BYTES;
use std::io;

/// The reason why data is no [`DaemonProcess`](super::DaemonProcess), or the current process could not make its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A field that every generation writes is absent.
    #[error("identity has no {field}")]
    MissingField {
        /// Name of the field on the wire.
        field: &'static str,
    },
    /// A digest has another length than 32 bytes.
    #[error("identity field {field} is {length} bytes, a digest is {EXE_DIGEST_BYTES}")]
    DigestLength {
        /// Name of the field on the wire.
        field: &'static str,
        /// Length of the field, in bytes.
        length: usize,
    },
    /// The instance id on the wire has another length than 16 bytes.
    #[error("identity field instance_id is {length} bytes, an instance id is {INSTANCE_ID_BYTES}")]
    InstanceIdLength {
        /// Length of the field, in bytes.
        length: usize,
    },
    /// The instance id in the identity file is not 32 hexadecimal digits.
    #[error("identity field instance_id is {found:?}, an instance id is {} hexadecimal digits", 2 * INSTANCE_ID_BYTES)]
    InstanceIdDigits {
        /// The text that was found.
        found: String,
    },
    /// The version or the build is too long.
    #[error("identity field {field} is {length} bytes, the limit is {MAX_VERSION_BYTES}")]
    VersionLength {
        /// Name of the field on the wire.
        field: &'static str,
        /// Length of the field, in bytes.
        length: usize,
    },
    /// The version or the build has a control character.
    #[error("identity field {field} is {found:?}, which has a control character")]
    VersionCharacter {
        /// Name of the field on the wire.
        field: &'static str,
        /// The text that was found.
        found: String,
    },
    /// Every digest is 32 zero bytes, which stand for an absent one.
    #[error("identity has no digest: every digest in it is 32 zero bytes, which stand for an absent one")]
    ZeroDigests,
    /// The only digest is of an algorithm that this library does not know.
    #[error("identity names the digest algorithm {algorithm:?}, {BLAKE3_ALGORITHM:?} is known")]
    UnknownDigestAlgorithm {
        /// The name that was found.
        algorithm: String,
    },
    /// The bytes are not a protobuf `DaemonProcess`.
    #[error("identity cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// The executable of this process could not be opened or read.
    #[error("the executable of this process cannot be read")]
    Executable(#[source] io::Error),
    /// The executable of the daemon behind this one could not be opened or read.
    #[error("the executable of the fronted daemon cannot be read")]
    Fronted(#[source] io::Error),
    /// The operating system does not tell which boot this is.
    #[error("the boot of this machine cannot be identified")]
    BootId(#[source] io::Error),
    /// The operating system has no randomness for an instance id.
    #[error("no random instance id")]
    InstanceId(#[source] io::Error),
    /// The wall clock is before the Unix epoch.
    #[error("the clock stands before 1970")]
    ClockBeforeEpoch,
}
