//! A file that is read in chunks, by any number of threads.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The reason why a file has no digests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DigestError {
    /// It could not be read in time, or no caller waits for it any more.
    #[error("not digested in time")]
    TimedOut,
    /// It was written, cut or extended while it was read.
    #[error("changed while it was digested")]
    Changed,
    /// A directory, a FIFO, a device or a socket.
    #[error("not a regular file")]
    NotARegularFile,
    /// It could not be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
}

impl From<DigestError> for io::Error {
    fn from(error: DigestError) -> Self {
        let kind = match error {
            DigestError::Io(error) => return error,
            DigestError::TimedOut => io::ErrorKind::TimedOut,
            DigestError::Changed => io::ErrorKind::ResourceBusy,
            DigestError::NotARegularFile => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// Returns whether to go on; called before each read, by every thread that reads.
pub(crate) type GoOn<'a> = dyn Fn() -> bool + Sync + 'a;

/// A file that is read, by any number of threads.
pub(super) struct Input<'a> {
    file: &'a File,
    go_on: &'a GoOn<'a>,
    bytes_read: AtomicU64,
}

impl<'a> Input<'a> {
    pub(super) fn new(file: &'a File, go_on: &'a GoOn<'a>) -> Self {
        Self { file, go_on, bytes_read: AtomicU64::new(0) }
    }

    /// Passes the bytes in `range` to `take`, in order, in chunks as large as `chunk` at most, which is not empty.
    ///
    /// # Errors
    ///
    /// See [`DigestError`]; [`Changed`](DigestError::Changed) if the file ends before the range does.
    pub(super) fn read(
        &self,
        range: Range<u64>,
        chunk: &mut [u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), DigestError> {
        let mut position = range.start;
        while position < range.end {
            let wanted = usize::try_from(range.end - position).unwrap_or(usize::MAX).min(chunk.len());
            match self.read_at(&mut chunk[..wanted], position)? {
                0 => return Err(DigestError::Changed),
                length => {
                    position += length as u64;
                    take(&chunk[..length]);
                }
            }
        }
        Ok(())
    }

    /// Returns the number of bytes that were read so far, by all threads.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Checks that the file has no bytes at `size`.
    ///
    /// # Errors
    ///
    /// [`DigestError::Changed`], if it has.
    pub(super) fn ends_at(&self, size: u64) -> Result<(), DigestError> {
        if self.read_at(&mut [0], size)? == 0 { Ok(()) } else { Err(DigestError::Changed) }
    }

    fn read_at(&self, chunk: &mut [u8], position: u64) -> Result<usize, DigestError> {
        loop {
            if !(self.go_on)() {
                return Err(DigestError::TimedOut);
            }
            match read_at(self.file, chunk, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length) => {
                    self.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
                    return Ok(length);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, position)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_to_its_end_and_not_further() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        let (file, mut taken) = (File::open(&path).unwrap(), Vec::new());
        let input = Input::new(&file, &|| true);
        input.read(1..6, &mut [0; 4], |bytes| taken.push(bytes.to_vec())).unwrap();
        assert_eq!(taken, [&b"1234"[..], b"5"]);
        assert_eq!(input.bytes_read(), 5);
    }
}
