//! The descriptors that come with a read.

use crate::descriptor::Descriptor;
use std::io;

/// Most bytes that one read with descriptors appends to a buffer.
const MAX_APPENDED: usize = 64 * 1024;

/// The descriptors that came with a read, in order. Programs that this process runs do not inherit them.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) descriptors: Vec<Descriptor>,
    /// The system has dropped some.
    pub(crate) truncated: bool,
}

impl Incoming {
    /// Returns whether the read has ended at the bytes with the descriptors, although more bytes may be there.
    pub(crate) fn is_any(&self) -> bool {
        self.truncated || !self.descriptors.is_empty()
    }
}

/// Appends what `read` puts at the start of the room behind the end of `buffer`.
pub(super) fn append<R: AppendResult>(buffer: &mut Vec<u8>, read: impl FnOnce(&mut [u8]) -> R) -> R {
    let length = buffer.len();
    buffer.resize(length + (buffer.capacity() - length).min(MAX_APPENDED), 0);
    let read = read(&mut buffer[length..]);
    buffer.truncate(length + read.bytes());
    read
}

/// The result of a read.
pub(super) trait AppendResult {
    /// Returns the number of bytes.
    fn bytes(&self) -> usize;
}

impl AppendResult for io::Result<usize> {
    fn bytes(&self) -> usize {
        *self.as_ref().unwrap_or(&0)
    }
}

#[cfg(feature = "tokio")]
impl AppendResult for std::task::Poll<io::Result<usize>> {
    fn bytes(&self) -> usize {
        match self {
            Self::Ready(read) => read.bytes(),
            Self::Pending => 0,
        }
    }
}

/// Reads where no descriptors come.
#[cfg(not(unix))]
pub(super) fn no_descriptors<T>(_: &mut Incoming, read: impl FnOnce() -> T) -> T {
    read()
}
