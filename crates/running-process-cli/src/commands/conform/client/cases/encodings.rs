//! Frames that only a client gets which has asked for them.

use crate::commands::conform::case::Need;
use crate::commands::conform::client::case::{ANSWER, ClientCase, Step, answer_to};
use crate::commands::conform::frame::{CONTROL, EVENT, RawFrame};
use crate::commands::conform::protobuf::varint;

const ENCODINGS: &str = "Payload encodings";

pub(super) static CASES: &[ClientCase] = &[
    ClientCase::prints(
        "notice-moved",
        "Notices",
        "A notice that was asked for is not the answer.",
        |request| {
            let notice = RawFrame { kind: EVENT, ..RawFrame::request(CONTROL, 0, varint(1000, 1)) };
            vec![Step::Send([notice.bytes(), answer_to(request).bytes()].concat())]
        },
    )
    .needs(&[Need::Notices])
    .should(),
    ClientCase::prints(
        "encoding-zstd",
        ENCODINGS,
        "An answer in Zstandard is decoded, if it was listed.",
        |request| {
            // One segment with its size, and one raw block, the last one.
            let payload = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 5 << 3 | 1, 0, 0][..], ANSWER].concat();
            vec![Step::Send(RawFrame { payload, encoding: 1, ..answer_to(request) }.bytes())]
        },
    )
    .needs(&[Need::Zstd]),
    ClientCase::prints(
        "encoding-snappy",
        ENCODINGS,
        "An answer in Snappy is decoded, if it was listed.",
        |request| {
            // The size, and one literal.
            let payload = [&[5, 4 << 2][..], ANSWER].concat();
            vec![Step::Send(RawFrame { payload, encoding: 2, ..answer_to(request) }.bytes())]
        },
    )
    .needs(&[Need::Snappy]),
    ClientCase::prints(
        "encoding-lz4",
        ENCODINGS,
        "An answer in LZ4 is decoded, if it was listed.",
        |request| {
            // The magic number, independent blocks of at most 64 KiB and their checksum, one block that is not compressed, the end.
            let header = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
            let payload = [&header[..], &[5, 0, 0, 0x80], ANSWER, &[0; 4]].concat();
            vec![Step::Send(RawFrame { payload, encoding: 3, ..answer_to(request) }.bytes())]
        },
    )
    .needs(&[Need::Lz4]),
];
