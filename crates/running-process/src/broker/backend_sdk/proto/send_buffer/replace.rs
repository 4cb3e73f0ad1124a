//! The replacement of a frame that waits.

use super::SendBuffer;
use crate::broker::protocol::{DecodedFramedRef, FrameRef, try_decode_framed_ref};
use std::io::IoSlice;

impl SendBuffer {
    /// Replaces the first frame that waits and that `is_replaced` accepts by `replacement`, and drops the descriptors of that frame.
    /// Returns whether there is such a frame. No byte of the first frame that waits was written.
    #[cold]
    pub(crate) fn replace(
        &mut self,
        is_replaced: impl Fn(&FrameRef<'_>) -> bool,
        replacement: &[u8],
    ) -> bool {
        // In one piece, since a frame around a large payload lies in three.
        let mut slices = vec![IoSlice::new(&[]); 2 * self.payloads.len() + 1];
        let count = self.fill_within(&mut slices, usize::MAX);
        let mut all = Vec::with_capacity(self.len());
        slices[..count].iter().for_each(|slice| all.extend_from_slice(slice));
        let mut at = 0;
        while let Ok(Some(DecodedFramedRef { frame, consumed })) = try_decode_framed_ref(&all[at..]) {
            if is_replaced(&frame) {
                self.replace_attached(at, consumed, replacement.len());
                all.splice(at..at + consumed, replacement.iter().copied());
                (self.bytes, self.start, self.written) = (all, 0, 0);
                self.payloads.clear();
                return true;
            }
            at += consumed;
        }
        false
    }

    /// Removes the descriptors of the frame of `length` bytes that begins behind `before` bytes. Those of later frames stay with
    /// them, behind `replaced` bytes instead of that frame.
    fn replace_attached(&mut self, before: usize, length: usize, replaced: usize) {
        let mut begin = 0;
        let next = self.attached.iter().position(|attached| {
            begin += attached.gap;
            begin >= before
        });
        let Some(next) = next else { return };
        let removed = if begin == before { self.attached.remove(next) } else { None };
        if let Some(behind) = self.attached.get_mut(next) {
            behind.gap = removed.map_or(0, |removed| removed.gap) + behind.gap + replaced - length;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::broker::backend_sdk::proto::payload::Payload;
    use crate::broker::backend_sdk::proto::send_buffer::ZERO_COPY_MIN;
    use crate::broker::protocol::{EncodingPolicy, Encodings};
    use std::os::fd::{AsRawFd, OwnedFd};

    /// Lengths of payloads that are copied or not, and whether a descriptor goes with each.
    const FRAMES: [(usize, bool); 7] = [
        (3, true),
        (ZERO_COPY_MIN, false),
        (5, false),
        (2 * ZERO_COPY_MIN, true),
        (0, false),
        (7, true),
        (ZERO_COPY_MIN, true),
    ];

    fn append(output: &mut SendBuffer, id: u64, length: usize, descriptor: Option<OwnedFd>) {
        let payload = Payload::from(id.to_string().repeat(length)).with_descriptors(descriptor);
        let frame = FrameRef::request(0xF00D, id, &[]);
        let appended =
            output.append_payload(frame, payload, &EncodingPolicy::default(), Encodings::default(), 1);
        assert!(appended.is_ok());
    }

    /// Returns the frames that wait, and the descriptors that go with the first byte of each.
    fn written(mut output: SendBuffer) -> (Vec<u8>, Vec<(usize, i32)>) {
        let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
        while !output.is_empty() {
            descriptors.extend(output.descriptors().iter().map(|each| (bytes.len(), each.as_raw_fd())));
            let mut slices = [IoSlice::new(&[]); 3];
            let count = output.fill(&mut slices);
            let before = bytes.len();
            slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
            output.consume(bytes.len() - before);
        }
        (bytes, descriptors)
    }

    #[test]
    fn a_frame_is_replaced_and_the_others_keep_their_bytes_and_descriptors() {
        let null = std::fs::File::open("/dev/null").unwrap();
        for replaced in 0..FRAMES.len() {
            for length in [0, 10, 3 * ZERO_COPY_MIN] {
                let (mut output, mut expected) = (SendBuffer::default(), SendBuffer::default());
                // A frame that was written before.
                append(&mut output, 9, 4, None);
                output.consume(output.len());
                let (mut numbers, mut expected_numbers) = (Vec::new(), Vec::new());
                for (index, (payload, has_descriptor)) in FRAMES.into_iter().enumerate() {
                    let descriptor = || has_descriptor.then(|| OwnedFd::from(null.try_clone().unwrap()));
                    let own = descriptor();
                    numbers.extend(own.as_ref().map(|own| (index, own.as_raw_fd())));
                    append(&mut output, index as u64, payload, own);
                    if index == replaced {
                        append(&mut expected, 8, length, None);
                    } else {
                        let other = descriptor();
                        expected_numbers.extend(other.as_ref().map(|other| (index, other.as_raw_fd())));
                        append(&mut expected, index as u64, payload, other);
                    }
                }
                let mut replacement = SendBuffer::default();
                append(&mut replacement, 8, length, None);
                let (replacement, _) = written(replacement);
                assert!(!output.replace(|frame| frame.request_id == 7, &replacement));
                assert!(output.replace(|frame| frame.request_id == replaced as u64, &replacement));
                let (bytes, descriptors) = written(output);
                let (expected, expected_descriptors) = written(expected);
                assert!(bytes == expected, "frame {replaced} by {length} bytes");
                numbers.retain(|(index, _)| *index != replaced);
                let places = |all: &[(usize, i32)]| all.iter().map(|(at, _)| *at).collect::<Vec<_>>();
                assert_eq!(places(&descriptors), places(&expected_descriptors));
                let order = |all: &[(usize, i32)]| all.iter().map(|(_, own)| *own).collect::<Vec<_>>();
                assert_eq!(order(&descriptors), order(&numbers));
                assert_eq!(order(&expected_descriptors), order(&expected_numbers));
            }
        }
    }
}
