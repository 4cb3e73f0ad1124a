//! Answers that a client prints.

use crate::commands::conform::client::case::{ANSWER, ClientCase, Step, answer_to, answers};
use crate::commands::conform::frame::{EVENT, HEADER, MAX_BODY, RawFrame, framed};
use crate::commands::conform::protobuf::{bytes, varint};

const HEADER_SECTION: &str = "Header";
const FRAME: &str = "Frame";
const EVENTS: &str = "Events";

pub(super) static CASES: &[ClientCase] = &[
    ClientCase::prints("answer-whole", FRAME, "The payload of the response is the answer.", answers),
    ClientCase::prints("answer-bytewise", HEADER_SECTION, "An answer may arrive byte by byte.", |request| {
        vec![Step::SendBytewise(answer_to(request).bytes())]
    }),
    ClientCase::prints(
        "answer-cut-in-body",
        HEADER_SECTION,
        "The rest of a body may arrive later, byte by byte.",
        |request| {
            let mut bytes = answer_to(request).bytes();
            let rest = bytes.split_off(HEADER + 4);
            vec![Step::Send(bytes), Step::SendBytewise(rest)]
        },
    ),
    ClientCase::prints(
        "answer-then-end",
        FRAME,
        "An answer is one also if the connection ends behind it.",
        |request| vec![Step::Send(answer_to(request).bytes()), Step::Close],
    ),
    ClientCase::prints(
        "answer-with-next-frame",
        HEADER_SECTION,
        "Another frame may follow the answer in the same write.",
        |request| {
            let event = RawFrame { kind: EVENT, ..RawFrame::request(request.protocol, 0, *b"behind") };
            vec![Step::Send([answer_to(request).bytes(), event.bytes()].concat())]
        },
    ),
    ClientCase::prints(
        "answer-unknown-fields",
        FRAME,
        "Unknown fields of each wire type are skipped.",
        |request| {
            let fixed64 = [&[0xc1, 0x0c][..], &[7; 8]].concat();
            let fixed32 = [&[0xcd, 0x0c][..], &[7; 4]].concat();
            let unknown = [varint(100, u64::MAX), bytes(3000, b"later"), fixed64, fixed32].concat();
            vec![Step::Send(framed(&[&unknown[..], &answer_to(request).body(), &unknown].concat()))]
        },
    ),
    ClientCase::prints("answer-fields-reversed", FRAME, "Fields are read in any order.", |request| {
        let fields = [
            varint(5, request.id),
            bytes(4, ANSWER),
            varint(3, request.protocol),
            varint(2, 1),
            varint(1, 1),
        ];
        vec![Step::Send(framed(&fields.concat()))]
    }),
    ClientCase::prints(
        "answer-repeated-fields",
        FRAME,
        "Of a repeated field the last value counts.",
        |request| {
            let other =
                RawFrame { version: 2, ..RawFrame::request(0xF0C1, request.id.wrapping_add(1), *b"first") };
            let other = [other.body(), varint(2, 3)].concat();
            vec![Step::Send(framed(&[other, answer_to(request).body()].concat()))]
        },
    ),
    ClientCase::prints("answer-long-varints", FRAME, "A varint may be longer than it need be.", |request| {
        // The kind, response, in three bytes; as the other fields are.
        let kind = [0x10, 0x81, 0x80, 0x00];
        let body = [&answer_to(request).body()[..], &kind].concat();
        vec![Step::Send(framed(&body))]
    }),
    ClientCase::prints("answer-trace-context", FRAME, "A response may have a trace context.", |request| {
        let traceparent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec();
        let tracestate = b"vendor=value".to_vec();
        vec![Step::Send(RawFrame { traceparent, tracestate, ..answer_to(request) }.bytes())]
    }),
    ClientCase::prints("answer-empty", FRAME, "An answer may be empty.", |request| {
        vec![Step::Send(RawFrame::response(request.protocol, request.id, []).bytes())]
    })
    .printing(Vec::new),
    ClientCase::prints("answer-binary", FRAME, "A payload is bytes of any value.", |request| {
        vec![Step::Send(RawFrame::response(request.protocol, request.id, every_byte()).bytes())]
    })
    .printing(every_byte),
    ClientCase::prints("answer-1-mib", HEADER_SECTION, "An answer may have 1 MiB.", |request| {
        vec![Step::Send(RawFrame::response(request.protocol, request.id, a_mebibyte()).bytes())]
    })
    .printing(a_mebibyte),
    ClientCase::prints("answer-16-mib", HEADER_SECTION, "A body may have 16 MiB.", |request| {
        let mut body = answer_to(request).body();
        // An unknown field of the length that is left: its key has two bytes and its length four.
        body.extend(bytes(100, &vec![0; MAX_BODY - body.len() - 6]));
        vec![Step::Send(framed(&body))]
    }),
    ClientCase::prints(
        "event-of-no-request",
        EVENTS,
        "An event of no request is not the answer.",
        |request| {
            let event = RawFrame { kind: EVENT, ..RawFrame::request(request.protocol, 0, *b"event") };
            vec![Step::Send([event.bytes(), answer_to(request).bytes()].concat())]
        },
    )
    .should(),
    ClientCase::prints(
        "event-of-the-request",
        EVENTS,
        "Events before the response are not the answer.",
        |request| {
            let event =
                RawFrame { kind: EVENT, ..RawFrame::request(request.protocol, request.id, *b"event") };
            vec![Step::Send([event.bytes(), event.bytes(), answer_to(request).bytes()].concat())]
        },
    )
    .should(),
    ClientCase::prints(
        "event-of-another-request",
        EVENTS,
        "An event of another id belongs to no request.",
        |request| {
            let event =
                RawFrame { kind: EVENT, ..RawFrame::request(request.protocol, request.id ^ 0x55, *b"event") };
            vec![Step::Send([event.bytes(), answer_to(request).bytes()].concat())]
        },
    )
    .should(),
];

fn every_byte() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

fn a_mebibyte() -> Vec<u8> {
    b"0123456789abcdef".repeat(1 << 16)
}
