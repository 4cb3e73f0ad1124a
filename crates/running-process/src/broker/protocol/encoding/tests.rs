//! The memory that decoders ask for, and the bounds of decoded sizes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use super::undecoded::reserve;
use super::*;

const MIB: usize = 1 << 20;

/// Returns the result of decoding into an empty buffer, the capacities that were granted, and the buffer.
fn granted(
    encoding: PayloadEncoding,
    payload: &[u8],
    cap: usize,
) -> (Result<(), DecodeStopped>, Vec<usize>, Vec<u8>) {
    let (mut out, mut grants) = (Vec::new(), Vec::new());
    let result = decode_granted(encoding, payload, cap, &mut out, &mut |capacity| {
        grants.push(capacity);
        true
    });
    (result, grants, out)
}

fn encoded(encoding: PayloadEncoding, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_payload(encoding, payload, &mut out).unwrap();
    out
}

#[test]
fn no_decoder_takes_memory_that_is_not_granted() {
    for encoding in Encodings::SUPPORTED.iter() {
        let payload = encoded(encoding, &vec![7; MIB]);
        let (result, grants, out) = granted(encoding, &payload, MAX_FRAME_BYTES);
        assert!(result.is_ok() && out == vec![7; MIB], "{encoding:?}");
        assert!(out.capacity() <= *grants.last().unwrap(), "{encoding:?}: {} of {grants:?}", out.capacity());
        for refused in 1..=grants.len() {
            let (mut out, mut asked) = (Vec::new(), 0);
            let stopped = decode_granted(encoding, &payload, MAX_FRAME_BYTES, &mut out, &mut |_| {
                asked += 1;
                asked < refused
            });
            assert!(matches!(stopped, Err(DecodeStopped::NotGranted)), "{encoding:?}");
            let before = refused.checked_sub(2).map_or(0, |last| grants[last]);
            assert!(out.capacity() <= before, "{encoding:?}: {} without grant {refused}", out.capacity());
        }
    }
}

#[test]
fn a_payload_that_is_not_encoded_is_copied_into_memory_of_its_size() {
    let (result, grants, out) = granted(PayloadEncoding::None, &[7; 1000], 1000);
    assert!(result.is_ok() && out == [7; 1000]);
    assert_eq!(grants, [1000]);
}

#[test]
fn memory_that_is_there_is_used_before_more_is_asked_for() {
    let mut out = Vec::with_capacity(100);
    out.extend([7; 10]);
    let mut asked = Vec::new();
    for capacity in [100, 1000] {
        let reserved = reserve(&mut out, capacity, &mut |capacity| {
            asked.push(capacity);
            true
        });
        assert!(reserved.is_ok());
        assert_eq!(out.capacity(), capacity);
    }
    assert_eq!((asked, out), (vec![1000], vec![7; 10]));
}

#[cfg(feature = "host")]
#[test]
fn the_bound_of_a_decoded_size_holds_and_is_none_of_no_use() {
    let (payload, policy) = ([7; 10_000], EncodingPolicy::default());
    let most = |frame: &FrameRef<'_>| policy.most_decoded(frame);
    for encoding in Encodings::SUPPORTED.iter() {
        let mut encoded = Vec::new();
        encode_payload(encoding, &payload, &mut encoded).unwrap();
        let frame = FrameRef { payload_encoding: encoding.into(), ..FrameRef::request(0x7001, 1, &encoded) };
        let bound = most(&frame);
        assert!((payload.len()..policy.max_decoded).contains(&bound), "{encoding:?}: {bound}");
        let refusing = EncodingPolicy { accept: Encodings::NONE, ..policy };
        assert_eq!(refusing.most_decoded(&frame), encoded.len(), "what is not decoded stays as it is");
    }
    assert_eq!(most(&FrameRef::request(0x7001, 1, &payload)), payload.len());
}

#[cfg(feature = "host")]
#[test]
fn the_most_that_a_payload_decodes_to_is_what_it_states_within_the_cap() {
    let policy = EncodingPolicy { max_decoded: 2 * MIB, ..EncodingPolicy::default() };
    for encoding in Encodings::SUPPORTED.iter() {
        for (length, most) in [(1000, 1000), (MIB, MIB), (3 * MIB, 2 * MIB)] {
            let payload = encoded(encoding, &vec![7; length]);
            let frame =
                FrameRef { payload_encoding: encoding.into(), ..FrameRef::request(0xF00D, 1, &payload) };
            assert_eq!(policy.most_decoded(&frame), most, "{encoding:?}");
            assert_eq!(
                EncodingPolicy::OFF.most_decoded(&frame),
                payload.len(),
                "{encoding:?} is not decoded"
            );
        }
        let frame =
            FrameRef { payload_encoding: encoding.into(), ..FrameRef::request(0xF00D, 1, &[0xff; 9]) };
        assert!(policy.most_decoded(&frame) >= 9, "{encoding:?}");
    }
    let frame = FrameRef::request(0xF00D, 1, &[7; 9]);
    assert_eq!(policy.most_decoded(&frame), 9);
}

#[cfg(feature = "lz4")]
mod lz4 {
    use super::*;
    use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    const CHUNK: usize = 64 * 1024;

    /// Returns a frame that does not state its size.
    fn unstated(payload: &[u8]) -> Vec<u8> {
        let info = FrameInfo::new().block_size(BlockSize::Max64KB);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(payload).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn memory_for_a_frame_without_a_size_doubles() {
        let payload = unstated(&vec![7; 16 * CHUNK]);
        let (result, grants, out) = granted(PayloadEncoding::Lz4, &payload, MAX_FRAME_BYTES);
        assert!(result.is_ok() && out == vec![7; 16 * CHUNK]);
        assert_eq!(grants, [1, 2, 4, 8, 16, 32].map(|chunks| chunks * CHUNK));
        // Up to the cap, and a byte to tell that there is more.
        let (result, grants, _) = granted(PayloadEncoding::Lz4, &payload, 16 * CHUNK);
        assert!(result.is_ok());
        assert_eq!(grants, [CHUNK, 2 * CHUNK, 4 * CHUNK, 8 * CHUNK, 16 * CHUNK, 16 * CHUNK + 1]);
    }

    #[cfg(feature = "host")]
    #[test]
    fn a_frame_without_a_size_decodes_to_255_times_its_length_at_most() {
        let payload = unstated(&[7; 1000]);
        let frame = FrameRef {
            payload_encoding: PayloadEncoding::Lz4.into(),
            ..FrameRef::request(0xF00D, 1, &payload)
        };
        assert_eq!(EncodingPolicy::default().most_decoded(&frame), 255 * payload.len());
    }
}

#[cfg(feature = "snappy")]
#[test]
fn a_length_that_so_few_bytes_cannot_make_is_damage_before_memory_is_taken() {
    // A length as a varint, and bytes that make nothing.
    for (length, takes) in [(22 * 4_u8, true), (22 * 5 - 1, true), (22 * 5, false), (127, false)] {
        let payload = [length, 0xff, 0xff, 0xff];
        let (result, grants, _) = granted(PayloadEncoding::Snappy, &payload, MAX_FRAME_BYTES);
        assert!(matches!(result, Err(DecodeStopped::Failed(DecodePayloadError::Damaged { .. }))));
        assert_eq!(grants.is_empty(), !takes, "{length} bytes");
    }
}

#[cfg(feature = "zstd")]
mod zstd {
    use super::*;
    use zstd_safe::{CCtx, CParameter, compress_bound};

    /// Returns a frame that does not state its size, and has a checksum.
    fn unstated(payload: &[u8]) -> Vec<u8> {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
        context.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
        let mut out = Vec::with_capacity(compress_bound(payload.len()));
        context.compress2(&mut out, payload).unwrap();
        out
    }

    fn failed(payload: &[u8], cap: usize) -> DecodePayloadError {
        match granted(PayloadEncoding::Zstd, payload, cap).0 {
            Err(DecodeStopped::Failed(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn memory_for_a_frame_without_a_size_doubles_from_a_multiple_of_its_length() {
        let payload = unstated(&vec![7; 5 * MIB]);
        let (result, grants, out) = granted(PayloadEncoding::Zstd, &payload, 6 * MIB);
        assert!(result.is_ok() && out == vec![7; 5 * MIB]);
        assert_eq!(grants[0], 64 * 1024 + 16 * payload.len());
        for pair in grants.windows(2) {
            assert_eq!(pair[1], (2 * pair[0]).min(6 * MIB));
        }
        assert_eq!(grants.last(), Some(&(6 * MIB)));
    }

    #[test]
    fn a_frame_without_a_size_that_is_larger_than_the_cap_is_too_large() {
        let payload = unstated(&vec![7; 300_000]);
        assert!(matches!(failed(&payload, 299_999), DecodePayloadError::TooLarge { .. }));
        assert!(granted(PayloadEncoding::Zstd, &payload, 300_000).0.is_ok());
        // As well if the memory of an earlier payload would hold it.
        let mut out = Vec::with_capacity(MIB);
        let large = decode_payload(PayloadEncoding::Zstd, &payload, 299_999, &mut out);
        assert!(matches!(large, Err(DecodePayloadError::TooLarge { .. })));
    }

    #[test]
    fn a_frame_with_a_wrong_checksum_is_damaged_and_one_with_bytes_behind_it_has_some() {
        let mut payload = unstated(b"payload");
        payload.push(0);
        assert!(matches!(failed(&payload, MIB), DecodePayloadError::TrailingBytes { .. }));
        payload.pop();
        *payload.last_mut().unwrap() ^= 1;
        assert!(matches!(failed(&payload, MIB), DecodePayloadError::Damaged { .. }));
    }
    #[test]
    fn a_frame_that_states_less_than_it_has_is_damaged() {
        let mut payload = encoded(PayloadEncoding::Zstd, &[7; 1000]);
        // One segment, whose size less 256 is in two bytes behind the descriptor of the frame.
        assert_eq!((payload[4] & 0xe0, &payload[5..7]), (0x60, &744_u16.to_le_bytes()[..]));
        payload[5..7].copy_from_slice(&644_u16.to_le_bytes());
        assert!(matches!(failed(&payload, MIB), DecodePayloadError::Damaged { .. }));
    }
}
