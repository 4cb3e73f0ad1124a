//! Wire types of protobuf.

use std::fmt;

/// The encoding of a field's value: <https://protobuf.dev/programming-guides/encoding/#structure>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WireType {
    Varint = 0,
    I64 = 1,
    Len = 2,
    StartGroup = 3,
    EndGroup = 4,
    I32 = 5,
}

impl WireType {
    /// Returns the wire type with that number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        let all = [Self::Varint, Self::I64, Self::Len, Self::StartGroup, Self::EndGroup, Self::I32];
        all.get(number as usize).copied()
    }
}

impl fmt::Display for WireType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Varint => "varint",
            Self::I64 => "i64",
            Self::Len => "len",
            Self::StartGroup => "group",
            Self::EndGroup => "end of group",
            Self::I32 => "i32",
        })
    }
}
