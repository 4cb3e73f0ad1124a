//! Reads protobuf's wire format with positions. It accepts exactly what the library's decoder accepts.

use super::problem::Reason;
use super::wire_type::WireType;
use std::ops::Range;

/// Deepest nesting of groups in an unknown field that the decoder accepts.
const MAX_GROUP_DEPTH: usize = 100;
/// Longest varint: 64 bits at seven bits a byte.
const MAX_VARINT_BYTES: usize = 10;

/// The reason why reading stopped before the end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The bytes are malformed.
    Fault(Fault),
    /// The capture ends here, and the bytes before are well-formed.
    CutOff,
}

/// Malformed bytes.
#[derive(Debug)]
pub(super) struct Fault {
    /// Offsets of the malformed bytes; empty where bytes are missing.
    pub(super) at: Range<usize>,
    pub(super) reason: Reason,
}

/// A field's key and its position.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) tag: u32,
    pub(super) wire_type: WireType,
    pub(super) at: Range<usize>,
}

/// A reader of one message. Positions count from the first byte of the frame.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The bytes from the start of the frame to the end of the message, or of the capture if that ends before.
    bytes: &'a [u8],
    /// `position <= bytes.len()`.
    position: usize,
    /// End of the message by its announced length; `bytes.len() <= announced_end`.
    announced_end: usize,
    /// Name of the message.
    message: &'static str,
}

impl<'a> Reader<'a> {
    /// Creates a reader of `capture[start..announced_end]`, or of the part that the capture has.
    pub(super) fn new(capture: &'a [u8], start: usize, announced_end: usize, message: &'static str) -> Self {
        let bytes = &capture[..announced_end.min(capture.len())];
        Self { bytes, position: start, announced_end, message }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Returns the position behind the last byte.
    pub(super) fn end(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// Reads a key.
    pub(super) fn key(&mut self) -> Result<Key, Stop> {
        let start = self.position;
        let key = self.varint()?;
        let at = start..self.position;
        let Ok(key) = u32::try_from(key) else { return fault(at, Reason::KeyTooLarge { key }) };
        let Some(wire_type) = WireType::from_number(key & 7) else {
            return fault(at, Reason::UnknownWireType { got: key & 7 });
        };
        match key >> 3 {
            0 => fault(at, Reason::TagZero),
            tag => Ok(Key { tag, wire_type, at }),
        }
    }

    /// Reads a varint.
    pub(super) fn varint(&mut self) -> Result<u64, Stop> {
        let start = self.position;
        let mut value = 0;
        for (count, byte) in self.bytes[start..].iter().take(MAX_VARINT_BYTES).enumerate() {
            let position = start + count;
            // The tenth byte holds the 64th bit and nothing else.
            if count + 1 == MAX_VARINT_BYTES && *byte > 1 {
                return fault(position..position + 1, Reason::VarintTooLong { byte: *byte });
            }
            value |= u64::from(byte & 0x7f) << (7 * count);
            if *byte < 0x80 {
                self.position = position + 1;
                return Ok(value);
            }
        }
        let length = self.end() - start;
        let reason = Reason::VarintUnfinished { length, message: self.message };
        self.out_of_bytes(self.end() + 1, self.end() - length.min(1)..self.end(), reason)
    }

    /// Skips the value of the field that `key` announces.
    pub(super) fn skip(&mut self, key: &Key) -> Result<(), Stop> {
        self.skip_nested(key, 0)
    }

    fn skip_nested(&mut self, key: &Key, depth: usize) -> Result<(), Stop> {
        if depth == MAX_GROUP_DEPTH {
            return fault(key.at.clone(), Reason::GroupsTooDeep { limit: MAX_GROUP_DEPTH });
        }
        match key.wire_type {
            WireType::Varint => self.varint().map(|_| ()),
            WireType::I32 => self.take(4, key.at.clone()).map(|_| ()),
            WireType::I64 => self.take(8, key.at.clone()).map(|_| ()),
            WireType::Len => {
                let claim = self.position;
                let length = self.varint()?;
                self.take(length, claim..self.position).map(|_| ())
            }
            WireType::EndGroup => fault(key.at.clone(), Reason::EndOfGroup { tag: key.tag, open: None }),
            WireType::StartGroup => loop {
                if self.is_at_end() {
                    let reason = Reason::GroupUnfinished { tag: key.tag, message: self.message };
                    return self.out_of_bytes(self.end() + 1, key.at.clone(), reason);
                }
                let inner = self.key()?;
                if inner.wire_type == WireType::EndGroup {
                    if inner.tag != key.tag {
                        let reason = Reason::EndOfGroup { tag: inner.tag, open: Some(key.tag) };
                        return fault(inner.at, reason);
                    }
                    return Ok(());
                }
                self.skip_nested(&inner, depth + 1)?;
            },
        }
    }

    /// Reads the next `length` bytes, a length that the bytes at `claim` announce.
    pub(super) fn take(&mut self, length: u64, claim: Range<usize>) -> Result<&'a [u8], Stop> {
        let start = self.position;
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        if let Some(end) = end
            && let Some(value) = self.bytes.get(start..end)
        {
            self.position = end;
            return Ok(value);
        }
        let left = self.announced_end - start;
        let reason = Reason::PastTheEnd { announced: length, left, message: self.message };
        self.out_of_bytes(end.unwrap_or(usize::MAX), claim, reason)
    }

    /// Returns [`Stop::CutOff`] if the capture ends inside the message, and a fault if the message is too short.
    ///
    /// `needed` is the position at which the value would end.
    fn out_of_bytes<T>(&self, needed: usize, at: Range<usize>, reason: Reason) -> Result<T, Stop> {
        if needed <= self.announced_end { Err(Stop::CutOff) } else { fault(at, reason) }
    }
}

fn fault<T>(at: Range<usize>, reason: Reason) -> Result<T, Stop> {
    Err(Stop::Fault(Fault { at, reason }))
}
