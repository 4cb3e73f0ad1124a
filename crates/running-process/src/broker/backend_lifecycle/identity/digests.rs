//! The digests by which an executable is known.

/// The name that the wire gives to [`ExeDigests::blake3`].
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
pub(super) fn is_present(digest: &ExeDigest) -> bool {
    *digest != [0; EXE_DIGEST_BYTES]
}
