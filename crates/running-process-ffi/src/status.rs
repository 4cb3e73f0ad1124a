//! The outcome of a function, and its text.

use running_process::broker::backend_sdk::MuxError;
use running_process::broker::protocol::{FrameViolation, FramingError};
use std::ffi::{CStr, c_char};

/// The outcome of a function. Everything but `RP_STATUS_OK` is a failure, and has changed nothing unless the function says so.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The function has done its work.
    Ok = 0,
    /// A pointer is null that may not be.
    NullPointer = 1,
    /// An argument is out of its range, or a pointer is not aligned.
    InvalidArgument = 2,
    /// The output does not fit the given memory; the needed length was stored.
    BufferTooSmall = 3,
    /// A text is not UTF-8.
    NotUtf8 = 4,
    /// A panic was caught: a bug of the library.
    Panic = 5,
    /// The first byte is not the framing byte 1. Fatal to the connection.
    FramingVersion = 10,
    /// The body of the frame is above 16 MiB. Fatal to the connection.
    FrameTooLarge = 11,
    /// The body is not a protobuf `Frame`. Fatal to the connection.
    NotAFrame = 12,
    /// The frame has the protocol of identity probes and is not a valid one. Fatal to the connection.
    MalformedProbe = 13,
    /// The payload protocol belongs to the wire itself. Fatal to the connection; the frame was stored.
    FirstParty = 14,
    /// The payload protocol is not served. Fatal to the connection; the frame was stored.
    Unserved = 15,
    /// The frame has another envelope version than 1.
    EnvelopeVersion = 20,
    /// The kind of the frame is none of `rp_kind`.
    UnknownKind = 21,
    /// The encoding of the payload is unknown.
    UnknownEncoding = 22,
    /// The encoding of the payload is known, and not among the accepted ones.
    UnsupportedEncoding = 23,
    /// The bytes or fields are no identity.
    Identity = 30,
    /// The operating system refused; only with the feature `host`.
    System = 31,
}

impl Status {
    const ALL: [Self; 18] = [
        Self::Ok,
        Self::NullPointer,
        Self::InvalidArgument,
        Self::BufferTooSmall,
        Self::NotUtf8,
        Self::Panic,
        Self::FramingVersion,
        Self::FrameTooLarge,
        Self::NotAFrame,
        Self::MalformedProbe,
        Self::FirstParty,
        Self::Unserved,
        Self::EnvelopeVersion,
        Self::UnknownKind,
        Self::UnknownEncoding,
        Self::UnsupportedEncoding,
        Self::Identity,
        Self::System,
    ];

    fn message(self) -> &'static CStr {
        match self {
            Self::Ok => c"ok",
            Self::NullPointer => c"a pointer is null",
            Self::InvalidArgument => c"an argument is out of its range",
            Self::BufferTooSmall => c"the output does not fit the given memory",
            Self::NotUtf8 => c"a text is not UTF-8",
            Self::Panic => c"the library has a bug: a panic was caught",
            Self::FramingVersion => c"the first byte is not the framing byte 1",
            Self::FrameTooLarge => c"the frame's body is above 16 MiB",
            Self::NotAFrame => c"the frame's body is not a Frame",
            Self::MalformedProbe => c"malformed identity probe",
            Self::FirstParty => c"the payload protocol is first-party and not served by a daemon",
            Self::Unserved => c"the payload protocol is not served by this daemon",
            Self::EnvelopeVersion => c"the envelope version is not 1",
            Self::UnknownKind => c"the frame's kind is unknown",
            Self::UnknownEncoding => c"the payload's encoding is unknown",
            Self::UnsupportedEncoding => c"the payload's encoding is not supported",
            Self::Identity => c"not an identity",
            Self::System => c"the operating system refused",
        }
    }
}

impl From<&FramingError> for Status {
    fn from(error: &FramingError) -> Self {
        match error {
            FramingError::UnsupportedFramingVersion { .. } => Self::FramingVersion,
            FramingError::FrameTooLarge { .. } => Self::FrameTooLarge,
            FramingError::Decode(_) | FramingError::UnexpectedEof { .. } => Self::NotAFrame,
            FramingError::Io(_) => Self::System,
        }
    }
}

impl From<&MuxError> for Status {
    fn from(error: &MuxError) -> Self {
        match error {
            MuxError::Framing(error) => error.into(),
            MuxError::MalformedProbe(_) => Self::MalformedProbe,
            MuxError::UnexpectedFirstPartyFrame { .. } => Self::FirstParty,
            MuxError::UnservedPayloadProtocol { .. } => Self::Unserved,
        }
    }
}

impl From<FrameViolation> for Status {
    fn from(violation: FrameViolation) -> Self {
        match violation {
            FrameViolation::EnvelopeVersion { .. } => Self::EnvelopeVersion,
            FrameViolation::Kind { .. } => Self::UnknownKind,
            FrameViolation::UnsupportedEncoding { .. } => Self::UnsupportedEncoding,
            // Each later violation of an encoding is one that this interface does not know.
            _ => Self::UnknownEncoding,
        }
    }
}

/// Returns the text of a status: static, NUL-terminated, without a line break. A number that is no status has a text, too.
#[unsafe(no_mangle)]
pub extern "C" fn rp_status_message(status: i32) -> *const c_char {
    let known = Status::ALL.into_iter().find(|known| *known as i32 == status);
    known.map_or(c"unknown status", Status::message).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_status_has_a_text_of_its_own() {
        let texts: HashSet<&CStr> = (-1..100)
            .map(|status| unsafe {
                // SAFETY: the function returns a static text with a NUL at its end.
                CStr::from_ptr(rp_status_message(status))
            })
            .collect();
        assert_eq!(texts.len(), Status::ALL.len() + 1);
        assert!(texts.contains(c"unknown status"));
    }
}
