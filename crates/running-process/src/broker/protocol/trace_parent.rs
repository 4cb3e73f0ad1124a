//! The trace of a request, by W3C Trace Context level 1.

use super::frame::FrameRef;
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// Length of a `traceparent` of version 00, in bytes.
const LENGTH: usize = 55;

/// Longest `tracestate` that is kept and passed on, in bytes: what section 3.3.1.5 of the recommendation asks every
/// system to pass on.
const LONGEST_STATE: usize = 512;

impl FrameRef<'_> {
    /// Removes a trace context beyond the bounds of W3C: a `traceparent` of more than 55 bytes, along with its
    /// `tracestate`, and a `tracestate` of more than 512 bytes.
    #[inline]
    #[must_use]
    pub(crate) fn with_bounded_trace(self) -> Self {
        if self.traceparent.len() > LENGTH {
            Self { traceparent: "", tracestate: "", ..self }
        } else if self.tracestate.len() > LONGEST_STATE {
            Self { tracestate: "", ..self }
        } else {
            self
        }
    }
}

/// A `traceparent`: the trace of a request, and the span that sent it.
///
/// A server that sends further requests on behalf of this one passes the trace on with a span id of its own:
///
/// ```
/// use running_process::broker::protocol::TraceParent;
/// use std::num::NonZeroU64;
///
/// let parent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("well-formed");
/// let own = TraceParent { parent_id: NonZeroU64::MIN, ..parent };
/// assert_eq!(own.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The id of the whole trace.
    pub trace_id: NonZeroU128,
    /// The span that sent the request.
    pub parent_id: NonZeroU64,
    /// The caller may have recorded the trace: the only flag with a meaning. Other flags are not passed on.
    pub sampled: bool,
}

impl TraceParent {
    /// Parses a `traceparent` by section 3.2 of the recommendation. Of a version above 00 it reads the fields of
    /// version 00. Returns `None` for one that is to be ignored, together with its `tracestate`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (known, further) = text.as_bytes().split_at_checked(LENGTH)?;
        let [version @ .., b'-'] = &known[..3] else { return None };
        let [trace_id @ .., b'-'] = &known[3..36] else { return None };
        let [parent_id @ .., b'-'] = &known[36..53] else { return None };
        let version = hexadecimal(version)?;
        let well_formed = match version {
            0 => further.is_empty(),
            0xFF => false,
            // A later version may add fields.
            _ => matches!(further, [] | [b'-', ..]),
        };
        if !well_formed {
            return None;
        }
        Some(Self {
            trace_id: NonZeroU128::new(hexadecimal(trace_id)?)?,
            parent_id: NonZeroU64::new(u64::try_from(hexadecimal(parent_id)?).ok()?)?,
            sampled: hexadecimal(&known[53..])? & 1 == 1,
        })
    }
}

/// Formats it as version 00, whatever version it was parsed from.
impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, parent_id, sampled } = self;
        write!(formatter, "00-{trace_id:032x}-{parent_id:016x}-{:02x}", u8::from(*sampled))
    }
}

/// Parses at most 32 digits in lower case.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'9' => Some(value << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(value << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of the recommendation, section 3.2.
    #[test]
    fn the_examples_of_the_recommendation_are_read_and_written() {
        for (text, sampled) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false),
        ] {
            let parent = TraceParent::parse(text).unwrap();
            assert_eq!(parent.trace_id.get(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
            assert_eq!((parent.parent_id.get(), parent.sampled), (0x00f0_67aa_0ba9_02b7, sampled));
            assert_eq!(parent.to_string(), text);
        }
    }

    #[test]
    fn a_trace_context_is_kept_within_the_bounds_of_the_recommendation() {
        let (parent, state) = ("p".repeat(55), "s".repeat(512));
        let within =
            FrameRef { traceparent: &parent, tracestate: &state, ..FrameRef::request(0xF00D, 1, b"x") };
        assert_eq!(within.with_bounded_trace(), within);
        let (longer_parent, longer_state) = ("p".repeat(56), "s".repeat(513));
        let beyond = FrameRef { tracestate: &longer_state, ..within };
        assert_eq!(beyond.with_bounded_trace(), FrameRef { tracestate: "", ..within });
        let beyond = FrameRef { traceparent: &longer_parent, ..within };
        assert_eq!(beyond.with_bounded_trace(), FrameRef { traceparent: "", tracestate: "", ..within });
    }

    #[test]
    fn what_the_recommendation_forbids_is_ignored() {
        for text in [
            "",
            "00",
            // No version may be ff, no id be all zeroes.
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            // Digits are hexadecimal and in lower case.
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            // Each field has its length, and version 00 has four of them.
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
            // A later version may only append fields.
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what-the-future-brings",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read_and_written_as_version_00() {
        for text in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
        ] {
            let parent = TraceParent::parse(text).unwrap();
            assert_eq!(parent.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id in 1_u128.., parent_id in 1_u64.., sampled: bool) {
            let (trace_id, parent_id) = (NonZeroU128::new(trace_id).unwrap(), NonZeroU64::new(parent_id).unwrap());
            let parent = TraceParent { trace_id, parent_id, sampled };
            prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
        }

        #[test]
        fn no_text_is_a_reason_to_panic(text in ".{0,70}") {
            let _read_or_ignored = TraceParent::parse(&text);
        }
    }
}
