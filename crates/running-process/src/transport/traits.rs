//! What streams of every system do alike: writing all, and the standard traits, which have no deadline.

use super::LocalStream;
use std::io::{self, Read, Write};
use std::time::Instant;

impl LocalStream {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] once `deadline` has passed, also when it had before the call;
    /// [`io::ErrorKind::BrokenPipe`] if the other side is gone; otherwise what the system said. After an error it is
    /// unknown how many bytes were written: the connection is of no further use for writing.
    pub fn write_all_deadline(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.write_some(rest, deadline)?;
            rest = &rest[written..];
        }
        Ok(())
    }
}

impl Read for &LocalStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_deadline(buf, None)
    }
}

impl Write for &LocalStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes, None)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for LocalStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for LocalStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
