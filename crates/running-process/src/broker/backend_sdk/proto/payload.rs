//! The payload of a request or response.

use super::recv_buffer::recycle;
use crate::descriptor::Descriptor;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The memory that a descriptor is charged with, in bytes: the system has some for its file, and a process has not many descriptors.
pub(crate) const DESCRIPTOR_MEMORY: usize = 16 * 1024;

/// The payload of a request or response: bytes that are given away, shared, or static, and the descriptors that come with them.
///
/// A large payload is written without a copy. A shared or static one is never copied, even for many peers:
///
/// ```
/// use running_process::broker::backend_sdk::Payload;
/// use std::sync::Arc;
///
/// let image: Arc<[u8]> = vec![7; 1 << 20].into();
/// let payloads = [Payload::from(b"pong"), Payload::from(vec![1, 2, 3]), Payload::from(Arc::clone(&image))];
/// assert_eq!(payloads[2].as_ptr(), image.as_ptr());
/// ```
#[derive(Clone)]
pub struct Payload(Repr);

#[derive(Clone)]
enum Repr {
    Owned(Vec<u8>),
    Static(&'static [u8]),
    Slice(Arc<[u8]>),
    Vector(Arc<Vec<u8>>),
    Shared(Bytes),
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are no descriptors to attach"))]
    Attached(Arc<Attachment>),
}

/// A payload and the descriptors that are sent along.
#[derive(Debug)]
pub(crate) struct Attachment {
    payload: Payload,
    pub(crate) descriptors: Vec<Descriptor>,
    /// The payload is the content of the only descriptor, a file, and no bytes are sent.
    pub(crate) is_file: bool,
}

impl Drop for Payload {
    #[inline]
    fn drop(&mut self) {
        if let Repr::Owned(bytes) = &mut self.0 {
            recycle(bytes);
        }
    }
}

impl Payload {
    /// Returns the payload with `descriptors`, which are sent along instead of those that it has. The receiver gets copies of its
    /// own, in this order, and this side's are closed once they are sent or the payload is dropped. A clone shares them.
    ///
    /// They are sent only to a peer that takes so many with one frame, which is never more than
    /// [`MAX_FRAME_DESCRIPTORS`](crate::broker::protocol::MAX_FRAME_DESCRIPTORS). To any other peer nothing is sent: a request fails, and an
    /// answer is a refusal. A payload with descriptors is not encoded.
    ///
    /// Two processes that have a descriptor of one file share its offset, its file status flags and its locks.
    #[cfg(unix)]
    #[must_use]
    pub fn with_descriptors(self, descriptors: impl IntoIterator<Item = OwnedFd>) -> Self {
        let descriptors: Vec<_> = descriptors.into_iter().collect();
        Self(Repr::Attached(Arc::new(Attachment { payload: self, descriptors, is_file: false })))
    }

    /// Returns the payload that is the content of `file`.
    #[cfg(all(unix, feature = "host"))]
    pub(crate) fn of_file(file: OwnedFd) -> Self {
        let descriptors = vec![file];
        Self(Repr::Attached(Arc::new(Attachment { payload: Self::default(), descriptors, is_file: true })))
    }

    /// Returns the descriptors that are sent along, if there are any.
    #[inline]
    pub(crate) fn attachment(&self) -> Option<&Arc<Attachment>> {
        match &self.0 {
            Repr::Attached(attachment) if !attachment.descriptors.is_empty() => Some(attachment),
            _ => None,
        }
    }

    /// Returns the file whose content the payload is, if it is one.
    #[cfg(all(unix, feature = "host"))]
    pub(crate) fn file(&self) -> Option<&OwnedFd> {
        self.attachment().filter(|attachment| attachment.is_file)?.descriptors.first()
    }

    /// Returns the number of descriptors that are sent along.
    #[must_use]
    #[inline]
    pub fn descriptor_count(&self) -> usize {
        self.attachment().map_or(0, |attachment| attachment.descriptors.len())
    }

    /// Returns the memory that this payload alone owns, in bytes.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        match &self.0 {
            Repr::Attached(attached) => {
                attached.payload.capacity() + attached.descriptors.len() * DESCRIPTOR_MEMORY
            }
            Repr::Owned(bytes) => bytes.capacity(),
            Repr::Static(_) | Repr::Slice(_) | Repr::Vector(_) | Repr::Shared(_) => 0,
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Owned(bytes) => bytes,
            Repr::Static(bytes) => bytes,
            Repr::Slice(bytes) => bytes,
            Repr::Vector(bytes) => bytes,
            Repr::Shared(bytes) => bytes,
            Repr::Attached(attached) => &attached.payload,
        }
    }
}

impl AsRef<[u8]> for Payload {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self(Repr::Static(&[]))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(formatter)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Owned(bytes))
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<Box<[u8]>> for Payload {
    fn from(bytes: Box<[u8]>) -> Self {
        bytes.into_vec().into()
    }
}

impl<const LENGTH: usize> From<[u8; LENGTH]> for Payload {
    fn from(bytes: [u8; LENGTH]) -> Self {
        Vec::from(bytes).into()
    }
}

/// Copies borrowed bytes.
impl From<Cow<'_, [u8]>> for Payload {
    fn from(bytes: Cow<'_, [u8]>) -> Self {
        bytes.into_owned().into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Repr::Static(bytes))
    }
}

impl<const LENGTH: usize> From<&'static [u8; LENGTH]> for Payload {
    fn from(bytes: &'static [u8; LENGTH]) -> Self {
        Self(Repr::Static(bytes))
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Arc<[u8]>> for Payload {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Repr::Slice(bytes))
    }
}

impl From<Arc<Vec<u8>>> for Payload {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Self(Repr::Vector(bytes))
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Shared(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_any_origin_has_its_bytes() {
        let payloads = [
            Payload::from(b"bytes".to_vec()),
            "bytes".to_owned().into(),
            b"bytes".to_vec().into_boxed_slice().into(),
            (*b"bytes").into(),
            b"bytes".into(),
            (&b"bytes"[..]).into(),
            "bytes".into(),
            Cow::Borrowed(&b"bytes"[..]).into(),
            Arc::<[u8]>::from(*b"bytes").into(),
            Arc::new(b"bytes".to_vec()).into(),
            Bytes::from(b"bytes".to_vec()).into(),
            Bytes::from_static(b"bytes").into(),
        ];
        for payload in payloads {
            assert_eq!(&payload[..], b"bytes");
            assert_eq!(&payload.clone()[..], b"bytes");
        }
        assert!(Payload::default().is_empty());
    }

    #[test]
    fn a_payload_is_shown_as_its_bytes() {
        assert_eq!(format!("{:?}", Payload::from(b"ab")), "[97, 98]");
    }

    #[cfg(unix)]
    #[test]
    fn descriptors_are_charged_beside_the_bytes_that_they_come_with() {
        let opened = || OwnedFd::from(tempfile::tempfile().unwrap());
        let payload =
            |descriptors: Vec<OwnedFd>| Payload::from(Vec::with_capacity(100)).with_descriptors(descriptors);
        assert_eq!(payload(vec![opened(), opened()]).capacity(), 100 + 2 * DESCRIPTOR_MEMORY);
        let none = payload(Vec::new());
        assert_eq!((none.capacity(), none.descriptor_count()), (100, 0));
        assert!(none.attachment().is_none(), "without descriptors it is sent like any other");
    }

    #[cfg(all(unix, feature = "host"))]
    #[test]
    fn only_a_payload_of_a_file_is_one() {
        let opened = || OwnedFd::from(tempfile::tempfile().unwrap());
        assert!(Payload::of_file(opened()).file().is_some());
        assert!(Payload::from(b"x").with_descriptors([opened()]).file().is_none());
        assert!(Payload::from(b"x").file().is_none());
    }
}
