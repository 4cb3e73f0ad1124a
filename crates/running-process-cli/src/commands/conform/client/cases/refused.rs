//! Answers that a client must not take for one.

use crate::commands::conform::client::case::{ANSWER, ClientCase, Step, answer_to};
use crate::commands::conform::frame::{
    CANCEL, CONTROL, EVENT, HEADER, REQUEST, RESPONSE, RawFrame, framed, header,
};
use crate::commands::conform::protobuf::{bytes, varint};

const HEADER_SECTION: &str = "Header";
const FRAME: &str = "Frame";
const CHECKS: &str = "Checks of a strict receiver";
const REFUSALS: &str = "Refusals";
const ENCODINGS: &str = "Payload encodings";

pub(super) static CASES: &[ClientCase] = &[
    ClientCase::fails("response-id", CHECKS, "A response of another id is not the answer.", |request| {
        changed(request, |answer| answer.id ^= 0x55)
    }),
    ClientCase::fails("response-id-high", CHECKS, "An id has 64 bits, all of which count.", |request| {
        changed(request, |answer| answer.id ^= 1 << 40)
    }),
    ClientCase::fails(
        "response-protocol",
        CHECKS,
        "A response of another payload protocol is not the answer.",
        |request| changed(request, |answer| answer.protocol ^= 1),
    ),
    ClientCase::fails(
        "response-kind-request",
        FRAME,
        "A request of the daemon is not the answer.",
        |request| changed(request, |answer| answer.kind = REQUEST),
    ),
    ClientCase::fails("response-kind-event", FRAME, "An event is not the answer.", |request| {
        changed(request, |answer| answer.kind = EVENT)
    }),
    ClientCase::fails(
        "response-kind-cancel",
        FRAME,
        "A cancel of the daemon is not the answer.",
        |request| changed(request, |answer| answer.kind = CANCEL),
    ),
    ClientCase::fails(
        "response-kind-unknown",
        CHECKS,
        "A frame of an unknown kind ends the connection.",
        |request| vec![Step::Send(RawFrame { kind: 4, ..answer_to(request) }.bytes())],
    )
    .should(),
    ClientCase::fails(
        "response-version",
        CHECKS,
        "An envelope version that is not 1 ends the connection.",
        |request| vec![Step::Send(RawFrame { version: 2, ..answer_to(request) }.bytes())],
    )
    .should(),
    ClientCase::fails(
        "response-no-version",
        CHECKS,
        "An envelope without a version ends the connection.",
        |request| vec![Step::Send(RawFrame { version: 0, ..answer_to(request) }.bytes())],
    )
    .should(),
    ClientCase::fails(
        "response-empty-body",
        HEADER_SECTION,
        "A frame without a body is not the answer.",
        |_| vec![Step::Send(framed(&[])), Step::Close],
    ),
    ClientCase::fails("refusal-no-answer", REFUSALS, "A refusal is not the answer.", |request| {
        vec![Step::Send(refusal(request, 1, "no capacity")), Step::Close]
    }),
    ClientCase::fails(
        "refusal-ends-request",
        REFUSALS,
        "A refusal ends its request, not the connection.",
        |request| vec![Step::Send(refusal(request, 1, "no capacity"))],
    )
    .should(),
    ClientCase::fails("refusal-handler", REFUSALS, "The failure of a handler ends its request.", |request| {
        vec![Step::Send(refusal(request, 7, "the handler failed"))]
    })
    .should(),
    ClientCase::fails(
        "refusal-unknown-reason",
        REFUSALS,
        "A refusal with a later reason is one.",
        |request| vec![Step::Send(refusal(request, 99, "a later reason"))],
    )
    .should(),
    ClientCase::fails(
        "refusal-without-message",
        REFUSALS,
        "A refusal needs no message and no reason.",
        |request| vec![Step::Send(refusal(request, 0, ""))],
    )
    .should(),
    ClientCase::fails(
        "cap-exceeded",
        HEADER_SECTION,
        "A length above the cap is refused at the header.",
        |_| vec![Step::Send(header((16 << 20) + 1))],
    ),
    ClientCase::fails("cap-largest", HEADER_SECTION, "The largest length is refused at the header.", |_| {
        vec![Step::Send(header(u32::MAX as usize))]
    }),
    ClientCase::fails(
        "framing-version",
        HEADER_SECTION,
        "A message that begins with 2 is no frame.",
        |request| {
            let mut bytes = answer_to(request).bytes();
            bytes[0] = 2;
            vec![Step::Send(bytes)]
        },
    ),
    ClientCase::fails("framing-other-wire", HEADER_SECTION, "An answer of another wire is no frame.", |_| {
        vec![Step::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]
    }),
    ClientCase::fails("end-before-answer", FRAME, "The end of the connection is not the answer.", |_| {
        vec![Step::Close]
    }),
    ClientCase::fails("end-in-header", HEADER_SECTION, "A part of a header is not the answer.", |request| {
        vec![Step::Send(answer_to(request).bytes()[..3].to_vec()), Step::Close]
    }),
    ClientCase::fails("end-in-body", HEADER_SECTION, "A part of a body is not the answer.", |request| {
        let payload_first =
            [varint(1, 1), varint(2, RESPONSE), varint(3, request.protocol), varint(5, request.id)];
        // Ends within a field that follows all fields of an answer.
        let body = [payload_first.concat(), bytes(4, ANSWER), varint(100, u64::MAX)].concat();
        let mut bytes = framed(&body);
        bytes.truncate(HEADER + body.len() - varint(100, u64::MAX).len());
        vec![Step::Send(bytes), Step::Close]
    }),
    ClientCase::fails(
        "damaged-length",
        FRAME,
        "A field that is longer than the body is refused.",
        |request| {
            let body = [answer_to(request).body(), vec![0xa2, 0x06, 0x7f]].concat();
            vec![Step::Send(framed(&body))]
        },
    ),
    ClientCase::fails("damaged-varint", FRAME, "A varint that does not end is refused.", |request| {
        let body = [answer_to(request).body(), vec![0xa0, 0x06], vec![0xff; 10]].concat();
        vec![Step::Send(framed(&body))]
    }),
    ClientCase::fails("damaged-wire-type", FRAME, "A payload that is a number is refused.", |request| {
        let body = [answer_to(request).body(), varint(4, 1)].concat();
        vec![Step::Send(framed(&body))]
    }),
    ClientCase::fails(
        "encoding-unknown",
        CHECKS,
        "A payload in an unknown encoding is not the answer.",
        |request| vec![Step::Send(RawFrame { encoding: 9, ..answer_to(request) }.bytes())],
    )
    .should(),
    ClientCase::fails(
        "encoding-damaged",
        ENCODINGS,
        "A payload that cannot be decoded is not the answer.",
        |request| {
            // Begins as no block of Snappy and no frame of Zstandard or LZ4 does.
            let payload = vec![0xff; 16];
            vec![Step::Send(RawFrame { payload, encoding: 2, ..answer_to(request) }.bytes())]
        },
    )
    .should(),
];

/// Sends the answer with a change, and ends the connection: a client may wait for the right answer until then.
fn changed(request: &RawFrame, change: fn(&mut RawFrame)) -> Vec<Step> {
    let mut answer = answer_to(request);
    change(&mut answer);
    vec![Step::Send(answer.bytes()), Step::Close]
}

fn refusal(request: &RawFrame, reason: u64, message: &str) -> Vec<u8> {
    let number = if reason == 0 { Vec::new() } else { varint(1000, reason) };
    let message = if message.is_empty() { Vec::new() } else { bytes(1001, message.as_bytes()) };
    RawFrame::response(CONTROL, request.id, [number, message].concat()).bytes()
}
