//! The key of a file: its state as the file system reports it.

use std::fs::Metadata;

/// Device, inode, size, time of modification and time of change of a file at one moment.
///
/// No call sets the time of change to a chosen value. It also changes when a file is renamed, linked or removed, which
/// costs one more reading. Equal keys do not imply equal contents by themselves: see the [rule](super::rule).
///
/// # Platform-specific behavior
///
/// On Windows the key is size, creation time and time of the last write, because the standard library offers no more.
/// It only serves to notice that a file changes while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileKey {
    pub(super) size: u64,
    /// Time of modification, or of the last write.
    pub(super) written: Timestamp,
    /// Time of change, or of creation.
    pub(super) changed: Timestamp,
    /// Device and inode.
    #[cfg(unix)]
    pub(super) file: [u64; 2],
}

#[cfg(unix)]
type Timestamp = (i64, i64);
#[cfg(windows)]
type Timestamp = u64;

impl FileKey {
    /// Returns whether size and time of modification are the same at a later moment.
    pub(super) fn same_content_times(&self, later: &Self) -> bool {
        (self.size, self.written) == (later.size, later.written)
    }
}

#[cfg(unix)]
impl FileKey {
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            file: [metadata.dev(), metadata.ino()],
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl FileKey {
    /// Length of [`to_bytes`](Self::to_bytes).
    pub(super) const BYTES: usize = 7 * 8;

    /// Returns the key for storage.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let [device, inode] = self.file;
        let parts = [
            device,
            inode,
            self.size,
            self.written.0.cast_unsigned(),
            self.written.1.cast_unsigned(),
            self.changed.0.cast_unsigned(),
            self.changed.1.cast_unsigned(),
        ];
        let mut bytes = [0; Self::BYTES];
        for (place, part) in bytes.chunks_exact_mut(8).zip(parts) {
            place.copy_from_slice(&part.to_le_bytes());
        }
        bytes
    }
}

#[cfg(windows)]
impl FileKey {
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::windows::fs::MetadataExt;
        Self {
            size: metadata.file_size(),
            written: metadata.last_write_time(),
            changed: metadata.creation_time(),
        }
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_in_anything_are_stored_differently() {
        let key = FileKey { size: 3, written: (4, 5), changed: (6, 7), file: [1, 2] };
        let others = [
            FileKey { size: 9, ..key },
            FileKey { written: (9, 5), ..key },
            FileKey { written: (4, 9), ..key },
            FileKey { changed: (9, 7), ..key },
            FileKey { changed: (6, 9), ..key },
            FileKey { file: [9, 2], ..key },
            FileKey { file: [1, 9], ..key },
            FileKey { file: [2, 1], ..key },
        ];
        for other in others {
            assert_ne!(other.to_bytes(), key.to_bytes());
            assert_ne!(other, key);
        }
    }
}
