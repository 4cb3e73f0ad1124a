//! The codec of an entry for the fuzz targets.

use super::{Entry, FileKey, decode, encode};
use crate::broker::backend_lifecycle::identity::{ExeDigest, ExeDigests};

/// Returns the entry of SHA-256 and BLAKE3 for the boot and the key: device, inode, size, the times of modification and of change.
#[must_use]
pub fn encode_digest_entry(
    boot: u64,
    key: [u64; 7],
    offset: i64,
    digests: [ExeDigest; 2],
) -> Option<Vec<u8>> {
    let [sha256, blake3] = digests.map(Some);
    let digests = ExeDigests::from_known(sha256, blake3)?;
    Some(encode(boot, &Entry { key: file_key(key), offset, digests }).to_vec())
}

/// Returns the offset of the wall clock and the digests of an entry for the boot and the key; a digest that is not known is zeros.
#[must_use]
pub fn decode_digest_entry(entry: &[u8], boot: u64, key: [u64; 7]) -> Option<(i64, [ExeDigest; 2])> {
    let Entry { offset, digests, .. } = decode(entry.try_into().ok()?, boot, &file_key(key))?;
    let known = |digest: Option<&ExeDigest>| digest.copied().unwrap_or_default();
    Some((offset, [known(digests.sha256()), known(digests.blake3())]))
}

fn file_key([device, inode, size, written, written_nanos, changed, changed_nanos]: [u64; 7]) -> FileKey {
    FileKey {
        size,
        written: (written.cast_signed(), written_nanos.cast_signed()),
        changed: (changed.cast_signed(), changed_nanos.cast_signed()),
        file: [device, inode],
    }
}
