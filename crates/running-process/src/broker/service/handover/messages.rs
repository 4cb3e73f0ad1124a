//! The messages between a daemon and its successor: a pure codec.
//!
//! ```text
//! [u8 version = 1][u8 kind][u16 little-endian length of the payload][payload]
//! ```

/// Version of the messages.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 4;
/// Longest payload, in bytes.
const MAX_PAYLOAD_BYTES: usize = 512;
/// Longest message, in bytes.
pub(super) const MAX_MESSAGE_BYTES: usize = HEADER_BYTES + MAX_PAYLOAD_BYTES;

const HELLO: u8 = 1;
const REFUSED: u8 = 2;
const TAKE: u8 = 3;
const PUBLISHED: u8 = 4;
const LEFT: u8 = 5;

/// A message of a handover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The successor asks for the endpoint. The descriptor of the lock of the replacement comes along.
    Hello,
    /// The daemon keeps its endpoint.
    Refused { reason: String },
    /// The descriptors of the lock and of the listening socket, in this order, come along. The socket's file is the one of
    /// this device and inode.
    Take { socket: (u64, u64) },
    /// The identity file is the successor's.
    Published,
    /// The former daemon has closed its descriptor of the lock. That of the socket follows, without a message.
    Left,
}

/// The reason why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the messages of the other process have version {got}, those of this one {VERSION}")]
    Version { got: u8 },
    #[error("the kind of a message is {got}")]
    Kind { got: u8 },
    #[error("the payload of a message has {length} bytes")]
    Length { length: usize },
    #[error("the reason in a message is not UTF-8")]
    Text,
}

impl Message {
    /// Returns the number of descriptors that come along.
    pub(super) fn descriptors(&self) -> usize {
        match self {
            Self::Hello => 1,
            Self::Take { .. } => 2,
            Self::Refused { .. } | Self::Published | Self::Left => 0,
        }
    }

    /// Returns the bytes of the message. A reason that is too long is cut.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Hello => (HELLO, Vec::new()),
            Self::Refused { reason } => {
                let longest = reason.len().min(MAX_PAYLOAD_BYTES);
                let end = (0..=longest).rev().find(|&end| reason.is_char_boundary(end));
                (REFUSED, reason.as_bytes()[..end.unwrap_or_default()].to_vec())
            }
            Self::Take { socket: (device, inode) } => {
                (TAKE, [device.to_le_bytes(), inode.to_le_bytes()].concat())
            }
            Self::Published => (PUBLISHED, Vec::new()),
            Self::Left => (LEFT, Vec::new()),
        };
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes();
        let mut bytes = vec![VERSION, kind, length[0], length[1]];
        bytes.extend(payload);
        bytes
    }

    /// Returns the message at the start of `bytes` and its length; `None` if it is not complete yet.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, MessageError> {
        if let Some(&got) = bytes.first()
            && got != VERSION
        {
            return Err(MessageError::Version { got });
        }
        let Some((&[_, kind, low, high], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes([low, high]));
        let fits = match kind {
            HELLO | PUBLISHED | LEFT => length == 0,
            TAKE => length == 16,
            REFUSED => length <= MAX_PAYLOAD_BYTES,
            got => return Err(MessageError::Kind { got }),
        };
        if !fits {
            return Err(MessageError::Length { length });
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let message = match (kind, payload.as_chunks().0) {
            (HELLO, _) => Self::Hello,
            (PUBLISHED, _) => Self::Published,
            (LEFT, _) => Self::Left,
            (_, &[device, inode]) if kind == TAKE => {
                Self::Take { socket: (u64::from_le_bytes(device), u64::from_le_bytes(inode)) }
            }
            _ => {
                let reason = std::str::from_utf8(payload).map_err(|_| MessageError::Text)?;
                Self::Refused { reason: reason.to_owned() }
            }
        };
        Ok(Some((message, HEADER_BYTES + length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all() -> [Message; 5] {
        [
            Message::Hello,
            Message::Refused { reason: "the database is busy".to_owned() },
            Message::Take { socket: (0x0102, 0xFFFF_0000_0000_0001) },
            Message::Published,
            Message::Left,
        ]
    }

    #[test]
    fn each_message_has_its_bytes() {
        let take = [1, 3, 16, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0xFF, 0xFF];
        let bytes: [&[u8]; 5] =
            [&[1, 1, 0, 0], b"\x01\x02\x14\0the database is busy", &take, &[1, 4, 0, 0], &[1, 5, 0, 0]];
        for (message, bytes) in all().into_iter().zip(bytes) {
            assert_eq!(message.encode(), bytes, "{message:?}");
            assert_eq!(Message::decode(bytes), Ok(Some((message, bytes.len()))));
        }
    }

    #[test]
    fn a_message_is_complete_with_its_last_byte_and_not_before() {
        let bytes = all().iter().flat_map(Message::encode).collect::<Vec<_>>();
        let mut rest = &bytes[..];
        for message in all() {
            let length = message.encode().len();
            for cut in 0..length {
                assert_eq!(Message::decode(&rest[..cut]), Ok(None), "{message:?} cut at {cut}");
            }
            assert_eq!(Message::decode(rest), Ok(Some((message, length))));
            rest = &rest[length..];
        }
    }

    #[test]
    fn other_bytes_are_errors_as_soon_as_they_show_it() {
        for (bytes, error) in [
            (&[0][..], MessageError::Version { got: 0 }),
            (&[2], MessageError::Version { got: 2 }),
            (b"GET / HTTP/1.1", MessageError::Version { got: b'G' }),
            (&[1, 0, 0, 0], MessageError::Kind { got: 0 }),
            (&[1, 6, 0, 0], MessageError::Kind { got: 6 }),
            (&[1, 1, 1, 0], MessageError::Length { length: 1 }),
            (&[1, 3, 15, 0], MessageError::Length { length: 15 }),
            (&[1, 2, 1, 2], MessageError::Length { length: 513 }),
            (&[1, 2, 1, 0, 0xFF], MessageError::Text),
        ] {
            assert_eq!(Message::decode(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let message = Message::Refused { reason: "ä".repeat(600) };
        let Ok(Some((Message::Refused { reason }, length))) = Message::decode(&message.encode()) else {
            panic!("{message:?}")
        };
        assert_eq!((reason, length), ("ä".repeat(256), MAX_MESSAGE_BYTES));
    }

    proptest! {
        #[test]
        fn what_is_decoded_encodes_to_the_bytes_that_were_read(bytes: Vec<u8>) {
            if let Ok(Some((message, length))) = Message::decode(&bytes) {
                prop_assert_eq!(message.encode(), &bytes[..length]);
            }
        }

        #[test]
        fn no_bytes_after_a_version_panic(kind in 0_u8..8, rest in prop::collection::vec(any::<u8>(), 0..600)) {
            let bytes = [&[VERSION, kind][..], &rest].concat();
            if let Ok(Some((message, length))) = Message::decode(&bytes) {
                prop_assert!(length <= MAX_MESSAGE_BYTES);
                prop_assert_eq!(message.encode(), &bytes[..length]);
            }
        }
    }
}
