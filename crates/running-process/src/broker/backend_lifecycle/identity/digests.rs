//! The digests by which an executable is known.

/// The name of [`ExeDigests::blake3`] on the wire.
pub const BLAKE3_ALGORITHM: &str = "blake3";

/// Length of either digest of an executable, in bytes.
pub const EXE_DIGEST_BYTES: usize = 32;

/// Digest of an executable file.
pub type ExeDigest = [u8; EXE_DIGEST_BYTES];

/// The digests of one executable; at least one is known.
///
/// A digest of 32 zero bytes is an absent one: peers that write only the BLAKE3 fill the field of the SHA-256 with zeros.
/// The accessors do not return it, so that it is neither compared nor written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExeDigests {
    /// Written by the first generation of peers.
    Sha256(ExeDigest),
    /// Written by some peers of the second generation.
    Blake3(ExeDigest),
    /// Written by this library.
    Both {
        /// SHA-256, FIPS 180-4.
        sha256: ExeDigest,
        /// BLAKE3 with its default output length.
        blake3: ExeDigest,
    },
}

impl ExeDigests {
    /// Returns the known digests, if there are any.
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

/// Returns whether `digest` is a digest, not 32 zero bytes.
pub(super) fn is_present(digest: &ExeDigest) -> bool {
    *digest != [0; EXE_DIGEST_BYTES]
}
