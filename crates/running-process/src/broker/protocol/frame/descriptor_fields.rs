//! The fields of a frame that are about descriptors.

use std::fmt;

/// The most descriptors that one frame carries: `SCM_MAX_FD` of Linux, see unix(7).
pub const MAX_FRAME_DESCRIPTORS: usize = 253;

/// The fields of a frame that are about descriptors: our own, which [`Frame`](super::Frame) has not. They are in one word, so that a frame without
/// any costs as little as before.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DescriptorFields(u32);

impl DescriptorFields {
    /// No descriptors, and nothing said of them.
    pub const NONE: Self = Self(0);

    const ACCEPTED: u32 = 8;
    const FILE: u32 = 1 << 16;

    /// Returns the number of descriptors that come with the frame; 255 if it announces more.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Returns the most descriptors that the sender takes with one frame; 0 if it takes none.
    #[must_use]
    pub const fn accepted(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// Returns whether the payload is the content of the only descriptor, a file.
    #[must_use]
    pub const fn is_file(self) -> bool {
        self.0 & Self::FILE != 0
    }

    /// Returns whether the frame says nothing of descriptors.
    #[must_use]
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the fields in one word, which is 0 if the frame says nothing of descriptors.
    #[inline]
    pub(super) const fn word(self) -> u32 {
        self.0
    }

    /// Returns the fields of a frame with so many descriptors.
    #[must_use]
    pub const fn announcing(self, count: u8) -> Self {
        Self(self.0 & !0xff | count as u32)
    }

    /// Returns the fields of a frame whose sender takes so many descriptors with one frame.
    #[must_use]
    #[inline]
    pub const fn accepting(self, most: u8) -> Self {
        Self(self.0 & !(0xff << Self::ACCEPTED) | (most as u32) << Self::ACCEPTED)
    }

    /// Returns the fields of a frame whose payload is, or is not, the content of its only descriptor.
    #[must_use]
    pub const fn of_file(self, is_file: bool) -> Self {
        Self(self.0 & !Self::FILE | if is_file { Self::FILE } else { 0 })
    }
}

impl fmt::Debug for DescriptorFields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DescriptorFields")
            .field("count", &self.count())
            .field("accepted", &self.accepted())
            .field("is_file", &self.is_file())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_shown_by_their_meaning() {
        let fields = DescriptorFields::NONE.announcing(1).accepting(16).of_file(true);
        assert_eq!(format!("{fields:?}"), "DescriptorFields { count: 1, accepted: 16, is_file: true }");
    }
}
