//! What a file system says of a file that stays equal exactly as long as the file's content does.

use std::fs::Metadata;
use std::time::{Duration, SystemTime};

/// How long a file must have been left alone before its digests are kept. Within the granularity of the file system's
/// clock a second change leaves no trace: up to two seconds on FAT, the coarsest in use.
const SETTLED: Duration = Duration::from_secs(2);

/// Device, inode, size, time of modification and time of change of a file, as found at one moment.
///
/// Nobody can set the time of change, and it changes with every write: two equal keys that are
/// [settled](Self::is_settled) mean the same content. It also changes when a file is renamed, linked or removed, which
/// costs one more reading.
///
/// # Limits
///
/// A file that is written through a shared mapping shows that only when the kernel writes it back. Linux gives no such
/// mapping of an executable that runs.
///
/// # Platform-specific behavior
///
/// On Windows the key is size, creation time and time of the last write, because the standard library offers no more:
/// another file can bear the same, and whoever may write a file can set both times. It is kept in memory only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileKey {
    pub(super) size: u64,
    /// Changed by every write of the content.
    pub(super) written: Timestamp,
    /// Changed by every write, and by more.
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
    /// Whether nothing says that the content changed between two moments, though more may have.
    pub(super) fn same_content_times(&self, later: &Self) -> bool {
        (self.size, self.written) == (later.size, later.written)
    }
}

#[cfg(unix)]
impl FileKey {
    /// Length of [`to_bytes`](Self::to_bytes).
    pub(super) const BYTES: usize = 7 * 8;

    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            file: [metadata.dev(), metadata.ino()],
        }
    }

    /// Whether the key is worth keeping, at the time `now` before the file was read.
    ///
    /// Times of whole seconds are not taken: read-only images often give all their files the same made-up one.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(nanoseconds @ 1..1_000_000_000)) =
            (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
        changed.and_then(|changed| now.duration_since(changed).ok()).is_some_and(|age| age >= SETTLED)
    }

    /// The key for storage.
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

    /// Whether the key is worth keeping, at the time `now` before the file was read.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        /// Between the epochs of Windows and Unix.
        const TO_UNIX_EPOCH: Duration = Duration::from_hours(134_774 * 24);
        // In 100 nanoseconds since 1601.
        let latest = Duration::from_nanos_u128(u128::from(self.written.max(self.changed)) * 100);
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        (now + TO_UNIX_EPOCH).checked_sub(latest).is_some_and(|age| age >= SETTLED)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_worth_keeping_two_seconds_after_the_last_change() {
        let at = |seconds, nanoseconds| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        let changed = |changed| FileKey { size: 3, written: (90, 5), changed, file: [1, 2] };
        let cases = [
            ((100, 5), at(102, 5), true),
            ((100, 5), at(4_000_000_000, 0), true),
            ((100, 5), at(102, 4), false),
            ((100, 5), at(100, 5), false),
            // The clock was set back since.
            ((100, 5), at(99, 0), false),
            // Made up, or nonsense.
            ((100, 0), at(200, 0), false),
            ((-1, 5), at(200, 0), false),
            ((100, -5), at(200, 0), false),
            ((100, 1_000_000_000), at(200, 0), false),
            ((i64::MAX, 5), at(200, 0), false),
        ];
        for (time, now, settled) in cases {
            assert_eq!(changed(time).is_settled(now), settled, "{time:?} at {now:?}");
        }
    }

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
