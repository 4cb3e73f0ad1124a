//! Bytes in order, in writes of any length, and the descriptors that go with them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use super::*;

fn waiting(output: &SendBuffer) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let count = output.fill(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Three small frames and two payloads, of which one is written before any small frame.
fn filled() -> (SendBuffer, Vec<u8>) {
    let mut output = SendBuffer::default();
    output.tail().extend_from_slice(b"ab");
    let at = output.tail().len() - 1;
    output.insert(at, b"PAYLOAD".into());
    output.tail().extend_from_slice(b"cd");
    let at = output.tail().len();
    output.insert(at, b"ANOTHER".into());
    output.tail().extend_from_slice(b"ef");
    (output, b"aPAYLOADbcdANOTHERef".to_vec())
}

#[test]
fn bytes_are_written_in_order_in_writes_of_any_length() {
    for step in 1..=20 {
        let (mut output, expected) = filled();
        let mut taken = Vec::new();
        while !output.is_empty() {
            let length = step.min(output.len());
            let all = waiting(&output);
            assert_eq!(all.len(), output.len());
            assert!(all.starts_with(output.first()));
            taken.extend_from_slice(&all[..length]);
            output.consume(length);
        }
        assert_eq!((taken, output.len()), (expected, 0), "{step} at a time");
    }
}

#[test]
fn more_pieces_than_fit_one_write_wait_for_the_next() {
    let (output, expected) = filled();
    let mut slices = [IoSlice::new(&[]); 2];
    assert_eq!(output.fill(&mut slices), 2);
    assert!(expected.starts_with(&[&slices[0][..], &slices[1]].concat()));
}

#[test]
fn an_output_that_is_never_empty_keeps_only_what_waits() {
    let mut output = SendBuffer::default();
    let (mut expected, mut taken) = (Vec::new(), Vec::new());
    for round in 0..=255 {
        output.tail().extend_from_slice(&[round; 100]);
        let at = output.tail().len() - 30;
        output.insert(at, vec![!round; 50].into());
        expected.extend([[round; 70].as_slice(), &[!round; 50], &[round; 30]].concat());
        let length = output.len().saturating_sub(120);
        taken.extend_from_slice(&waiting(&output)[..length]);
        output.consume(length);
        assert!(output.capacity() < 2000);
    }
    assert_eq!([taken, waiting(&output)].concat(), expected);
}

#[test]
fn memory_is_used_again_but_no_payload_is_kept() {
    let mut output = SendBuffer::default();
    output.tail().extend_from_slice(b"small");
    output.insert(5, vec![0; 1 << 20].into());
    assert!(output.capacity() > 1 << 20);
    output.consume(output.len());
    assert!(output.capacity() < 100);
    output.tail().extend(vec![0; 10 * RETAINED_CAPACITY]);
    assert!(output.reused().capacity() <= RETAINED_CAPACITY);
}

#[test]
#[should_panic(expected = "3 bytes more are written than wait")]
fn more_bytes_than_wait_cannot_be_removed() {
    let (mut output, expected) = filled();
    output.consume(expected.len() + 3);
}

#[test]
fn bytes_move_to_the_front_once_more_than_half_of_them_are_written() {
    let mut output = SendBuffer::default();
    output.tail().extend(0..10);
    output.consume(5);
    output.tail();
    assert_eq!(output.start, 5);
    output.consume(1);
    output.tail();
    assert_eq!((output.start, output.first()), (0, &[6, 7, 8, 9][..]));
}

#[test]
fn a_payload_is_copied_unless_it_is_large() {
    for (length, copied) in [(ZERO_COPY_MIN - 1, true), (ZERO_COPY_MIN, false)] {
        let mut output = SendBuffer::default();
        append(&mut output, vec![7; length].into());
        assert_eq!(output.payloads.is_empty(), copied, "{length} bytes");
    }
}

#[test]
fn the_memory_of_small_frames_is_used_again() {
    let mut output = SendBuffer::default();
    output.tail().extend([0; 1000]);
    let reused = output.reused();
    assert!(reused.is_empty() && reused.capacity() >= 1000);
}

fn append(output: &mut SendBuffer, payload: Payload) {
    let frame = FrameRef::request(0xF00D, 7, &[]);
    output.append_payload(frame, payload, &EncodingPolicy::OFF, Encodings::default(), 9).unwrap();
}

#[cfg(all(unix, feature = "host"))]
mod descriptors {
    use super::*;
    use std::os::fd::OwnedFd;

    /// The lengths of payloads, each with a number of descriptors.
    const FRAMES: [(usize, usize); 6] = [(10, 0), (20, 2), (3, 0), (ZERO_COPY_MIN, 3), (5, 1), (8, 0)];

    fn payload(length: usize, descriptors: usize) -> Payload {
        let opened = (0..descriptors).map(|_| OwnedFd::from(tempfile::tempfile().unwrap()));
        Payload::from(vec![7; length]).with_descriptors(opened)
    }

    /// Returns an output of the frames, and the offset of each.
    fn filled() -> (SendBuffer, Vec<usize>) {
        let mut output = SendBuffer::default();
        let mut offsets = Vec::new();
        for (length, descriptors) in FRAMES {
            offsets.push(output.len());
            append(&mut output, payload(length, descriptors));
        }
        (output, offsets)
    }

    #[test]
    fn they_go_with_the_first_byte_of_their_frame_however_the_writes_are_cut() {
        let (whole, offsets) = filled();
        let total = whole.len();
        let expected: Vec<_> = offsets
            .iter()
            .zip(FRAMES)
            .map(|(at, (_, count))| (*at, count))
            .filter(|(_, count)| *count > 0)
            .collect();
        for step in [1, 2, 7, 1000, usize::MAX] {
            let (mut output, _) = filled();
            let (mut at, mut sent) = (0, Vec::new());
            while !output.is_empty() {
                let bytes = waiting(&output);
                assert!(!output.first().is_empty() && bytes.starts_with(output.first()));
                if !output.descriptors().is_empty() {
                    sent.push((at, output.descriptors().len()));
                }
                let next = expected.iter().find(|(of, _)| *of > at).map_or(total, |(of, _)| *of);
                assert_eq!(at + bytes.len(), next, "a write ends where other descriptors begin");
                let length = bytes.len().min(step);
                output.consume(length);
                at += length;
            }
            assert_eq!((at, &sent), (total, &expected), "{step} bytes at a time");
        }
    }

    #[test]
    fn they_are_charged_beside_the_bytes() {
        let (output, _) = filled();
        let payload = ZERO_COPY_MIN + 3 * DESCRIPTOR_MEMORY;
        assert_eq!(output.capacity(), output.bytes.capacity() + payload + 6 * DESCRIPTOR_MEMORY);
    }

    #[test]
    fn a_frame_with_some_is_removed_only_while_no_byte_of_it_is_written() {
        let (mut output, offsets) = filled();
        assert!(output.remove_attached().is_none(), "another frame is the first");
        output.consume(offsets[1]);
        let removed = output.remove_attached().unwrap();
        assert_eq!((removed.payload_protocol, removed.request_id), (0xF00D, 7));
        output.consume(offsets[3] - offsets[2]);
        assert_eq!(output.descriptors().len(), 3);
        output.consume(1);
        assert!(output.descriptors().is_empty() && output.remove_attached().is_none());
        output.consume(offsets[4] - offsets[3] - 1);
        assert!(output.remove_attached().is_some());
        assert_eq!(output.len(), waiting(&output).len());
        assert!(output.attached.is_empty());
    }

    #[test]
    fn a_frame_says_how_many_it_has_and_a_peer_that_takes_fewer_gets_nothing() {
        use crate::broker::protocol::try_decode_framed_ref;
        let mut output = SendBuffer::default();
        append(&mut output, payload(3, 2));
        let frame = try_decode_framed_ref(output.first()).unwrap().unwrap().frame;
        assert_eq!((frame.payload, frame.descriptors.count()), (&[7; 3][..], 2));
        let before = output.len();
        for (takes, fits) in [(1, false), (2, true)] {
            let frame = FrameRef::request(0xF00D, 8, &[]);
            let (off, none) = (EncodingPolicy::OFF, Encodings::default());
            let appended = output.append_payload(frame, payload(3, 2), &off, none, takes);
            assert_eq!((appended.is_ok(), output.len() > before), (fits, fits));
        }
    }
}
