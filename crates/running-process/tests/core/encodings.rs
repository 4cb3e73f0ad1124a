//! Payload encodings: decoding, refusals, and the choice of an encoding. The cases depend on the features.

use crate::common::{SERVED, chain};
use proptest::collection::vec;
use proptest::prelude::*;
use running_process::broker::protocol::{
    DecodePayloadError, EncodingPolicy, Encodings, FrameRef, MAX_FRAME_BYTES, PayloadEncoding,
    decode_payload, encode_payload,
};

const ALL: [PayloadEncoding; 3] = [PayloadEncoding::Lz4, PayloadEncoding::Zstd, PayloadEncoding::Snappy];

fn encoded(encoding: PayloadEncoding, payload: &[u8]) -> Vec<u8> {
    let mut out = b"what was there before".to_vec();
    encode_payload(encoding, payload, &mut out).expect("a supported encoding encodes everything");
    out
}

fn decoded(encoding: PayloadEncoding, payload: &[u8], cap: usize) -> Result<Vec<u8>, DecodePayloadError> {
    let mut out = b"what was there before".to_vec();
    decode_payload(encoding, payload, cap, &mut out)?;
    Ok(out)
}

/// Returns the text of the recorded payloads.
fn log() -> Vec<u8> {
    (0..20).flat_map(|line| format!("line {line} of a log\n").into_bytes()).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).expect("a digit");
    let byte = |pair: &[u8]| u8::try_from(digit(&pair[0]) << 4 | digit(&pair[1])).expect("eight bits");
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Returns bytes that each encoding makes shorter, in several blocks.
fn compressible() -> Vec<u8> {
    log().into_iter().cycle().take(300_000).collect()
}

#[test]
fn what_the_tools_of_lz4_1_9_4_and_zstd_1_5_4_wrote_is_read() {
    const LZ4: [&str; 2] = [
        "04224d186440a768000000f1016c696e652030206f662061206c6f670a10001b3110001b3210001b3310001b3410001b3510001b3610\
         001b3710001b3810001b3910001d31a1000ca2001c31a3001c31a4001c31a5001c31a6001c31a7001c31a8001c31a900c03139206f66\
         2061206c6f670a000000003efce0d8",
        // This frame states its size and has a checksum of each block.
        "04224d187c404a010000000000008c68000000f1016c696e652030206f662061206c6f670a10001b3110001b3210001b3310001b3410\
         001b3510001b3610001b3710001b3810001b3910001d31a1000ca2001c31a3001c31a4001c31a5001c31a6001c31a7001c31a8001c31\
         a900c03139206f662061206c6f670ae2e6f6c5000000003efce0d8",
    ];
    const ZSTD: [&str; 2] = [
        "28b52ffd644a00ad020024026c696e652030206f662061206c6f670a31323334353637383931313131313131313114002d338465c8ad\
         0c612a432465c8a10c612743c464c8950c0992990f740c7402ba031d039d80ee40c74027a0af69e71279f53179",
        // This frame does not state its size.
        "28b52ffd0058c5020074026c696e652030206f662061206c6f670a6c696e652031323334353637383931313131313131313113002d33\
         8465c8ad0c612a432465c8a10c612743c464c8950c0992990f740c7402ba031d039d80ee40c740274c379b",
    ];
    for (encoding, payloads) in [(PayloadEncoding::Lz4, LZ4), (PayloadEncoding::Zstd, ZSTD)] {
        if Encodings::SUPPORTED.contains(encoding) {
            for payload in payloads {
                assert_eq!(decoded(encoding, &from_hex(payload), 1 << 20).unwrap(), log());
                assert!(decoded(encoding, &from_hex(payload), 329).is_err());
            }
        }
    }
}

#[test]
fn snappy_as_its_format_describes_it_is_read() {
    // Length 12, a literal of 3 bytes, and a copy of 9 bytes from 3 bytes back.
    let payload = b"\x0c\x08abc\x15\x03";
    if Encodings::SUPPORTED.contains(PayloadEncoding::Snappy) {
        assert_eq!(decoded(PayloadEncoding::Snappy, payload, 12).unwrap(), b"abcabcabcabc");
    }
}

#[test]
fn what_is_not_compiled_in_is_an_error() {
    for encoding in ALL {
        if Encodings::SUPPORTED.contains(encoding) {
            continue;
        }
        let error = decoded(encoding, b"x", 9).unwrap_err();
        assert!(matches!(error, DecodePayloadError::NotAccepted { .. }), "{error:?}");
        assert!(encode_payload(encoding, b"x", &mut Vec::new()).is_err());
    }
}

#[test]
fn no_encoding_is_a_copy_within_the_cap() {
    assert_eq!(decoded(PayloadEncoding::None, b"as it is", 8).unwrap(), b"as it is");
    let error = decoded(PayloadEncoding::None, b"too long", 7).unwrap_err();
    assert_eq!(chain(&error), "the payload decodes to more than 7 bytes");
    assert_eq!(encoded(PayloadEncoding::None, b"as it is"), b"as it is");
}

#[test]
fn a_payload_of_exactly_the_cap_is_decoded_and_one_byte_more_is_not() {
    for encoding in Encodings::SUPPORTED.iter() {
        for payload in [compressible(), vec![0; 1 << 20], vec![0; 1]] {
            let encoded = encoded(encoding, &payload);
            assert_eq!(decoded(encoding, &encoded, payload.len()).unwrap(), payload);
            let error = decoded(encoding, &encoded, payload.len() - 1).unwrap_err();
            assert!(matches!(error, DecodePayloadError::TooLarge { .. }), "{encoding:?}: {error:?}");
        }
    }
}

#[test]
fn half_a_payload_is_refused_wherever_it_is_cut() {
    for encoding in Encodings::SUPPORTED.iter() {
        for payload in [log(), Vec::new()] {
            let encoded = encoded(encoding, &payload);
            for cut in 0..encoded.len() {
                let error = decoded(encoding, &encoded[..cut], 1 << 20).unwrap_err();
                assert!(matches!(error, DecodePayloadError::Damaged { .. }), "{encoding:?} {cut}: {error:?}");
            }
        }
        let encoded = encoded(encoding, &compressible());
        for cut in (0..encoded.len()).step_by(encoded.len() / 50) {
            assert!(decoded(encoding, &encoded[..cut], 1 << 20).is_err(), "{encoding:?} {cut}");
        }
    }
}

#[test]
fn bytes_behind_a_payload_are_refused() {
    for encoding in Encodings::SUPPORTED.iter() {
        let one = encoded(encoding, &log());
        for rest in [&b"\0"[..], b"garbage", &one] {
            assert!(decoded(encoding, &[&one, rest].concat(), 1 << 20).is_err(), "{encoding:?} {rest:?}");
        }
    }
}

#[test]
fn blocks_of_lz4_above_64_kib_are_refused() {
    if Encodings::SUPPORTED.contains(PayloadEncoding::Lz4) {
        let mut payload = encoded(PayloadEncoding::Lz4, &log());
        payload[5] = 0x70;
        let error = decoded(PayloadEncoding::Lz4, &payload, 1 << 20).unwrap_err();
        assert_eq!(chain(&error), "the Lz4 payload is damaged: the blocks are of more than 64 KiB");
    }
}

#[test]
fn a_set_says_what_is_in_it_in_the_order_of_preference() {
    let set = Encodings::NONE.with(PayloadEncoding::Snappy).with(PayloadEncoding::Lz4);
    assert_eq!(set.with(PayloadEncoding::Snappy), set, "it was there already");
    assert_eq!(set.bits(), 0b1100);
    assert!(set.contains(PayloadEncoding::Lz4) && !set.contains(PayloadEncoding::Zstd));
    assert_eq!(set.iter().collect::<Vec<_>>(), [PayloadEncoding::Lz4, PayloadEncoding::Snappy]);
    assert_eq!(format!("{set:?}"), "{Lz4, Snappy}");
    assert_eq!(set.and(Encodings::from_bits(0b0110)).iter().collect::<Vec<_>>(), [PayloadEncoding::Snappy]);
    assert!(set.and(Encodings::from_bits(0b0011)).is_empty());
    assert_eq!(Encodings::NONE.with(PayloadEncoding::None), Encodings::NONE);
    assert_eq!(
        Encodings::from_bits(u32::MAX).bits(),
        u32::MAX - 1,
        "what is unknown is kept, nothing is not"
    );
    assert_eq!(Encodings::from_bits(u32::MAX).iter().collect::<Vec<_>>(), ALL);
}

#[test]
fn a_frame_is_encoded_only_for_a_peer_that_accepts_it_and_only_if_it_gets_shorter() {
    let payload = compressible();
    let random: Vec<u8> = (0..5000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let policy = EncodingPolicy::default();
    for encoding in ALL {
        let (peer, mut buffer) = (Encodings::NONE.with(encoding), Vec::new());
        let supported = Encodings::SUPPORTED.contains(encoding);
        let frame = FrameRef::request(SERVED, 1, &payload);
        assert_eq!(
            policy.encode(frame, Encodings::NONE, &mut buffer),
            frame,
            "a peer that knows none gets no list"
        );

        let sent = policy.encode(frame, peer, &mut buffer);
        assert_eq!(sent.accepted_encodings, Encodings::SUPPORTED.bits());
        let expected = if supported { encoding } else { PayloadEncoding::None };
        assert_eq!(sent.payload_encoding, i32::from(expected));
        assert_eq!(sent.payload.len() < payload.len(), supported);
        let mut decoded = Vec::new();
        let got = policy.decode(sent, &mut decoded).unwrap();
        assert_eq!(got, FrameRef { accepted_encodings: sent.accepted_encodings, ..frame });

        let as_it_is = |policy: EncodingPolicy, payload: &[u8]| {
            let mut buffer = Vec::new();
            let sent = policy.encode(FrameRef::request(SERVED, 1, payload), peer, &mut buffer);
            assert_eq!((sent.payload_encoding, sent.payload), (0, payload));
        };
        as_it_is(policy, &payload[..4095]);
        as_it_is(policy, &random);
        as_it_is(EncodingPolicy::OFF, &payload);
        let mut small = policy;
        small.max_decoded = payload.len() - 1;
        as_it_is(small, &payload);
        let mut mute = policy;
        mute.send = Encodings::NONE;
        as_it_is(mute, &payload);
    }
}

#[test]
fn a_frame_in_an_encoding_that_is_not_accepted_is_refused() {
    for got in [1, 2, 3, 4, 9, -1] {
        let frame = FrameRef { payload_encoding: got, ..FrameRef::request(SERVED, 1, b"x") };
        let error = EncodingPolicy::OFF.decode(frame, &mut Vec::new()).unwrap_err();
        assert_eq!(chain(&error), format!("payload encoding {got} is not accepted"));
    }
    let frame = FrameRef::request(SERVED, 1, b"x");
    assert_eq!(EncodingPolicy::OFF.decode(frame, &mut Vec::new()).unwrap(), frame);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_payload_comes_back_as_it_was(
        word in vec(any::<u8>(), 0..64),
        times in 1..5000_usize,
        rest in vec(any::<u8>(), 0..300),
    ) {
        let payload = [word.repeat(times), rest].concat();
        for encoding in Encodings::SUPPORTED.iter() {
            let encoded = encoded(encoding, &payload);
            prop_assert_eq!(&decoded(encoding, &encoded, MAX_FRAME_BYTES).unwrap(), &payload);
        }
    }

    #[test]
    fn damage_is_refused_or_stays_within_the_cap(
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cap in 0..100_000_usize,
    ) {
        for encoding in Encodings::SUPPORTED.iter() {
            for payload in [log(), compressible()] {
                let mut damaged = encoded(encoding, &payload);
                for (place, byte) in &flips {
                    let place = place.index(damaged.len());
                    damaged[place] ^= byte;
                }
                if let Ok(decoded) = decoded(encoding, &damaged, cap) {
                    prop_assert!(decoded.len() <= cap);
                }
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_stay_within_the_cap(
        bytes in vec(any::<u8>(), 0..200),
        cap in 0..1000_usize,
    ) {
        let zstd = [&b"\x28\xb5\x2f\xfd"[..], &bytes].concat();
        let lz4 = [&b"\x04\x22\x4d\x18"[..], &bytes].concat();
        for encoding in Encodings::SUPPORTED.iter() {
            for bytes in [&bytes, &zstd, &lz4] {
                if let Ok(decoded) = decoded(encoding, bytes, cap) {
                    prop_assert!(decoded.len() <= cap);
                }
            }
        }
    }
}

#[test]
fn a_payload_that_gets_no_shorter_stays_as_it_is() {
    let mut tried = 0;
    for encoding in Encodings::SUPPORTED.iter() {
        let mut policy = EncodingPolicy::default();
        (policy.send, policy.threshold) = (Encodings::NONE.with(encoding), 0);
        // A part that cannot be made shorter, and one that saves as much as the encoding costs.
        let mut random = 7_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_le_bytes()[3]
        })
        .take(200)
        .collect();
        let same = (0..200).map(|zeros| [&noise[..], &vec![0; zeros]].concat());
        for payload in same.filter(|payload| encoded(encoding, payload).len() == payload.len()) {
            tried += 1;
            let mut buffer = Vec::new();
            let frame = policy.encode(FrameRef::request(SERVED, 1, &payload), policy.send, &mut buffer);
            assert_eq!((frame.payload_encoding, frame.payload), (0, &payload[..]), "{encoding:?}");
        }
    }
    // Snappy makes none of these exactly as long as it was.
    assert_eq!(
        tried > 0,
        Encodings::SUPPORTED.contains(PayloadEncoding::Lz4)
            || Encodings::SUPPORTED.contains(PayloadEncoding::Zstd)
    );
}
