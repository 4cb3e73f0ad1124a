//! A response or an event with its descriptors.

#[cfg(unix)]
use super::reply_file;
use super::write_at::write_all_at;
use crate::broker::backend_sdk::proto::payload::DESCRIPTOR_MEMORY;
use crate::broker::protocol::{DescriptorFields, Frame};
use crate::descriptor::Descriptor;
use std::fs::File;
use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;

/// A response, or an event of a request, with the descriptors that came with it. They are closed when it is dropped.
///
/// The payload of a daemon's [`from_file`](crate::broker::backend_sdk::Payload::from_file) is a file here, or bytes if the daemon or this
/// system cannot pass descriptors. [`into_bytes`](Self::into_bytes), [`read_at`](Self::read_at) and [`copy_to`](Self::copy_to) take
/// either:
///
/// ```no_run
/// # use running_process::broker::backend_sdk::{FrameClient, RequestOptions};
/// # const FETCH: u32 = 0xF00D;
/// # fn fetch(client: &mut FrameClient) -> Result<(), Box<dyn std::error::Error>> {
/// let artifact = client.request_reply(FETCH, b"libfoo.rlib", &RequestOptions::new())?;
/// artifact.copy_to(&std::fs::File::create("libfoo.rlib")?)?;
/// # Ok(())
/// # }
/// ```
///
/// The file is open for reading, whatever the daemon says of it, and its content may change as long as any process can write it. So
/// this library never maps it, and reads it by position: the offset of a descriptor is shared with the daemon.
#[derive(Debug)]
pub struct Reply {
    frame: Frame,
    /// In a box, since few have any.
    attached: Option<Box<Attached>>,
}

#[derive(Debug)]
struct Attached {
    descriptors: Vec<Descriptor>,
    /// The payload is the content of the only descriptor.
    is_file: bool,
}

impl Reply {
    /// Returns the reply of `frame` with the next descriptors of `came`, as it announces.
    #[inline]
    pub(super) fn new(
        frame: Frame,
        announced: DescriptorFields,
        came: &mut impl Iterator<Item = Descriptor>,
    ) -> Self {
        if announced.count() == 0 {
            return Self { frame, attached: None };
        }
        let descriptors: Vec<_> = came.take(announced.count().into()).collect();
        let is_file = announced.is_file() && descriptors.len() == 1;
        Self { frame, attached: Some(Box::new(Attached { descriptors, is_file })) }
    }

    /// Returns the frame. The payload of a file is empty.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Returns the frame, and closes the descriptors.
    #[must_use]
    #[inline]
    pub fn into_frame(self) -> Frame {
        self.frame
    }

    /// Returns the payload, which is empty if it [is a file](Self::is_file).
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.frame.payload
    }

    /// Returns the memory of the frame and of the descriptors, in bytes.
    pub(super) fn memory(&self) -> usize {
        let Self { frame, attached } = self;
        let descriptors = attached.as_ref().map_or(0, |attached| attached.descriptors.len());
        size_of::<Frame>()
            + frame.payload.len()
            + frame.traceparent.len()
            + frame.tracestate.len()
            + descriptors * DESCRIPTOR_MEMORY
    }

    /// Returns the descriptors that came with the frame, in the order in which the daemon sent them. Programs that this process runs do
    /// not inherit them.
    #[cfg(unix)]
    #[must_use]
    pub fn descriptors(&self) -> &[OwnedFd] {
        self.attached.as_ref().map_or(&[], |attached| &attached.descriptors)
    }

    /// Takes the [`descriptors`](Self::descriptors), and leaves none.
    #[cfg(unix)]
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        self.attached.take().map_or_else(Vec::new, |attached| attached.descriptors)
    }

    /// Returns whether the payload is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.is_file)
    }

    /// Returns the file whose content the payload is; the reply as the error if the payload is bytes.
    ///
    /// # Errors
    ///
    /// The payload is bytes.
    #[cfg(unix)]
    pub fn into_file(mut self) -> Result<File, Box<Self>> {
        if !self.is_file() {
            return Err(Box::new(self));
        }
        let file = self.take_descriptors().pop();
        file.map(File::from).ok_or_else(|| Box::new(self))
    }

    /// Returns the length of the payload: of the file as it is now, or of the bytes.
    ///
    /// # Errors
    ///
    /// The daemon has sent something else as a file, or the system does not tell.
    pub fn payload_length(&self) -> io::Result<u64> {
        #[cfg(unix)]
        if let Some(file) = self.file()? {
            return reply_file::length(file);
        }
        Ok(self.frame.payload.len() as u64)
    }

    /// Reads from the byte at `offset` of the payload into the start of `buf`. Returns the number of bytes; 0 is the end.
    ///
    /// # Errors
    ///
    /// As [`payload_length`](Self::payload_length), or the file cannot be read.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        if let Some(file) = self.file()? {
            return reply_file::read_at(file, buf, offset);
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.frame.payload.len());
        let rest = &self.frame.payload[start..];
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    /// Returns the bytes of the payload. Those of a file are read; its length, which [`payload_length`](Self::payload_length) returns, is
    /// not bounded by that of a frame.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at), or there is no memory for them.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        #[cfg(unix)]
        if let Some(file) = self.file()? {
            return reply_file::bytes(file);
        }
        Ok(self.frame.payload)
    }

    /// Writes the payload to `target`, which is an empty file: from its first byte on, whatever its offset. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at), or `target` cannot be written.
    ///
    /// # Platform-specific behavior
    ///
    /// On Linux a file is cloned if the file system can (`FICLONE`), which takes no time and no space, or else copied inside the system
    /// (`copy_file_range`), if it can. Elsewhere the bytes are read and written.
    pub fn copy_to(&self, target: &File) -> io::Result<u64> {
        #[cfg(unix)]
        if let Some(file) = self.file()? {
            return reply_file::copy(file, target);
        }
        write_all_at(target, &self.frame.payload, 0)?;
        Ok(self.frame.payload.len() as u64)
    }

    /// Returns the file, if the payload is one.
    #[cfg(unix)]
    fn file(&self) -> io::Result<Option<&OwnedFd>> {
        let Some(attached) = self.attached.as_ref().filter(|attached| attached.is_file) else {
            return Ok(None);
        };
        let Some(file) = attached.descriptors.first() else { return Ok(None) };
        reply_file::check(file)?;
        Ok(Some(file))
    }
}
