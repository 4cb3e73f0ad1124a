//! Properties that hold for any bytes: spans cover each byte once, and frames are accepted as by the library.

use super::*;
use proptest::prelude::*;
use running_process::broker::protocol::try_decode_framed;

/// Generates captures of valid frames, of slightly damaged ones, and random bytes.
fn capture_bytes() -> impl Strategy<Value = Vec<u8>> {
    let frames: Vec<Vec<u8>> = vectors().into_iter().map(|(_, frame)| frame).collect();
    let golden = proptest::collection::vec(proptest::sample::select(frames), 1..4).prop_map(|it| it.concat());
    let flips = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let mutated = (golden, flips, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, flips, end, is_cut)| {
            for (index, byte) in flips {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let end = end.index(bytes.len());
            bytes.truncate(if is_cut { end } else { bytes.len() });
            bytes
        },
    );
    let small = prop_oneof![0_u8..48, any::<u8>(), Just(0x80_u8), Just(0xff_u8)];
    let bodies = proptest::collection::vec(proptest::collection::vec(small, 0..24), 1..4);
    let random_bodies = bodies.prop_map(|bodies| bodies.iter().flat_map(|body| framed(body)).collect());
    prop_oneof![mutated, random_bodies, proptest::collection::vec(any::<u8>(), 0..64)]
}

fn check(bytes: &[u8]) {
    let frames = annotate(bytes);
    let mut end = 0;
    for frame in &frames {
        assert_eq!(frame.offset, end);
        for span in &frame.spans {
            assert_eq!(frame.offset + span.offset, end, "{span:?}");
            assert!(span.length > 0, "{span:?}");
            end = frame.offset + span.end();
        }
        assert_eq!(frame.end(), end);
        assert_eq!(frame.bytes, &bytes[frame.offset..end]);
        // The explanation depends on no more bytes than `wanted` returns.
        let (Wanted::Frame(wanted) | Wanted::Rest(wanted)) = wanted(&bytes[frame.offset..]);
        let at_hand = &bytes[frame.offset..bytes.len().min(frame.offset + wanted)];
        let again = annotate_frame(at_hand, frame.offset, bytes.len() - frame.offset);
        assert_eq!(format!("{again:?}"), format!("{frame:?}"));
        let decoded = try_decode_framed(&bytes[frame.offset..]);
        assert_eq!(frame.is_accepted(), matches!(decoded, Ok(Some(_))), "{decoded:?}\n{}", plain(bytes));
        if let Ok(Some(decoded)) = decoded {
            assert_eq!(frame.length, decoded.consumed);
            assert_eq!(frame.frame.unwrap().to_frame(), decoded.frame);
        }
        // The fallback without a position is for a decoder that has changed.
        assert!(
            frame.problems.iter().all(|problem| problem.reason.code() != "undecodable"),
            "{}",
            plain(bytes)
        );
        for problem in &frame.problems {
            assert!(problem.at.end <= frame.length, "{problem:?}");
        }
    }
    assert_eq!(end, bytes.len());
    // Every byte and every problem is shown, or counted as hidden.
    let shown = plain(bytes);
    let problems: usize = frames.iter().map(|frame| frame.problems.len()).sum();
    assert_eq!(shown.matches("  help: ").count(), problems, "{shown}");
    assert!(frames.iter().all(|frame| serde_json::to_string(&json::frame(0, frame)).is_ok()));
    let _ = summarize(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn spans_cover_every_byte_once_and_frames_are_accepted_as_by_the_library(bytes in capture_bytes()) {
        check(&bytes);
    }
}

#[test]
fn every_golden_capture_cut_anywhere_keeps_the_properties() {
    for (_, bytes) in vectors() {
        for end in 0..=bytes.len() {
            check(&bytes[..end]);
        }
    }
}

#[test]
fn every_one_byte_change_of_a_probe_response_keeps_the_properties() {
    let mut bytes = vector("probe_response_blake3_generation");
    for index in 0..bytes.len() {
        let original = bytes[index];
        for byte in [0, 1, 2, 0x7f, 0x80, 0xff, original ^ 1, original ^ 4, original ^ 8, original ^ 0x80] {
            bytes[index] = byte;
            check(&bytes);
        }
        bytes[index] = original;
    }
}
