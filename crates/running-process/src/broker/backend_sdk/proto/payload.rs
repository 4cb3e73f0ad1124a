//! What answers are made of.

use super::recv_buffer::recycle;
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The payload of an answer: a daemon's own bytes, which it gives away, shares with others, or has for good.
///
/// If it is large it is written from where it lies. What is shared or static is never copied, however many clients it goes to:
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
pub struct Payload(Bytes);

#[derive(Clone)]
enum Bytes {
    Owned(Vec<u8>),
    Static(&'static [u8]),
    Slice(Arc<[u8]>),
    Vector(Arc<Vec<u8>>),
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Bytes::Owned(bytes) = &mut self.0 {
            recycle(std::mem::take(bytes));
        }
    }
}

impl Payload {
    /// The memory that is only there for this payload, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        match &self.0 {
            Bytes::Owned(bytes) => bytes.capacity(),
            Bytes::Static(_) | Bytes::Slice(_) | Bytes::Vector(_) => 0,
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Owned(bytes) => bytes,
            Bytes::Static(bytes) => bytes,
            Bytes::Slice(bytes) => bytes,
            Bytes::Vector(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self(Bytes::Static(&[]))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(formatter)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Owned(bytes))
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

/// What is borrowed is copied.
impl From<Cow<'_, [u8]>> for Payload {
    fn from(bytes: Cow<'_, [u8]>) -> Self {
        bytes.into_owned().into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Bytes::Static(bytes))
    }
}

impl<const LENGTH: usize> From<&'static [u8; LENGTH]> for Payload {
    fn from(bytes: &'static [u8; LENGTH]) -> Self {
        Self(Bytes::Static(bytes))
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Arc<[u8]>> for Payload {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(Bytes::Slice(bytes))
    }
}

impl From<Arc<Vec<u8>>> for Payload {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Self(Bytes::Vector(bytes))
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
        ];
        for payload in payloads {
            assert_eq!(&payload[..], b"bytes");
            assert_eq!(&payload.clone()[..], b"bytes");
        }
        assert!(Payload::default().is_empty());
    }
}
