//! Every kind of damage, and the bytes that its problem names.

use super::*;

/// Name and bytes of a capture, and the code, offset and length of each problem.
type Case = (&'static str, Vec<u8>, &'static [(&'static str, usize, usize)]);

fn errors() -> Vec<Case> {
    let body = |hex| framed(&unhex(hex));
    let deep = [[0x8b, 0x01].repeat(101), [0x8c, 0x01].repeat(101)].concat();
    vec![
        ("legacy wire", b"*1\r\n$4\r\nPING\r\n".to_vec(), &[("not_a_frame", 0, 1)]),
        ("hex text", b"010e00 0000 0801\n".to_vec(), &[("not_a_frame", 0, 1)]),
        ("a body without its header", unhex("0801 188de003 2801"), &[("not_a_frame", 0, 1)]),
        ("lost between frames", [body("0801"), unhex("2a 00")].concat(), &[("not_a_frame", 7, 1)]),
        ("half a header", unhex("01 0e 00"), &[("header_unfinished", 3, 0)]),
        ("above the cap", unhex("01 01 00 00 01 08"), &[("frame_too_large", 1, 4)]),
        ("big-endian length", unhex("01 00 00 00 02 08 01"), &[("frame_too_large", 1, 4)]),
        ("half a body", unhex("01 0e000000 0801 2204 7069"), &[("body_unfinished", 11, 0)]),
        ("varint of eleven bytes", body("28 ffffffffffffffffff02"), &[("varint_too_long", 15, 1)]),
        ("varint without an end", body("28 ff"), &[("varint_unfinished", 6, 1)]),
        ("key without a value", body("0801 28"), &[("varint_unfinished", 8, 0)]),
        ("key of more than 32 bits", body("8080808010 00"), &[("key_too_large", 5, 5)]),
        ("wire type 7", body("0801 0f"), &[("unknown_wire_type", 7, 1)]),
        ("tag 0", body("0801 0001"), &[("tag_zero", 7, 1)]),
        ("text where a number belongs", body("0801 2a01 41 3001"), &[("wrong_wire_type", 7, 1)]),
        ("invalid UTF-8", body("0801 42 04 6162c328 2801"), &[("not_utf8", 11, 1)]),
        ("field past the end", body("0801 22 c801 7069"), &[("past_the_end", 8, 2)]),
        ("fixed field past the end", body("0801 8d01 0000"), &[("past_the_end", 7, 2)]),
        ("group of another number", body("0801 8b01 9401"), &[("end_of_group", 9, 2)]),
        ("end without a group", body("0801 8c01 2801"), &[("end_of_group", 7, 2)]),
        ("end of a group for a known field", body("0801 2c"), &[("end_of_group", 7, 1)]),
        ("group without an end", body("0801 8b01 0801"), &[("group_unfinished", 7, 2)]),
        ("groups too deep", framed(&deep), &[("groups_too_deep", 205, 2)]),
        (
            "two bad frames and a good one",
            [body("0f"), body("00"), body("0801")].concat(),
            &[("unknown_wire_type", 5, 1), ("tag_zero", 11, 1)],
        ),
    ]
}

fn warnings() -> Vec<Case> {
    let body = |hex| framed(&unhex(hex));
    let nonce = "00".repeat(32);
    let probe =
        |before: &str, after: &str| framed(&unhex(&format!("{before} 18b2e402 2220 {nonce} {after}")));
    let answer = |identity: &str| {
        let payload = unhex(&format!("{nonce}{identity}"));
        let body = [unhex("0801 1001 18b2e402 22"), vec![u8::try_from(payload.len()).unwrap()], payload];
        framed(&body.concat())
    };
    vec![
        ("no envelope version", body(""), &[("envelope_version", 1, 4)]),
        ("envelope version 2", body("0802 188de003"), &[("envelope_version", 6, 1)]),
        ("unknown kind", body("0801 1007 188de003"), &[("unknown_kind", 8, 1)]),
        ("unsupported encoding", body("0801 188de003 3001"), &[("unsupported_encoding", 12, 1)]),
        (
            "everything at once",
            body("0802 1007 188de003 3009"),
            &[("envelope_version", 6, 1), ("unknown_kind", 8, 1), ("unknown_encoding", 14, 1)],
        ),
        ("probe with a short nonce", body("0801 18b2e402 2202 0001"), &[("malformed_probe", 12, 1)]),
        ("probe without a nonce", body("0801 18b2e402"), &[("malformed_probe", 1, 4)]),
        ("probe as an event", probe("0801 1002", ""), &[("malformed_probe", 8, 1)]),
        (
            "probe above its limit",
            probe("0801", &format!("8201 8120 {}", "00".repeat(4097))),
            &[("malformed_probe", 1, 4)],
        ),
        (
            "probe response without a nonce",
            body("0801 1001 18b2e402 2202 0001"),
            &[("probe_response_without_nonce", 14, 1)],
        ),
        ("identity without a digest", answer("0807"), &[("malformed_identity", 14, 1)]),
        ("identity with a short digest", answer("0807 1a02 0001"), &[("malformed_identity", 51, 2)]),
        ("identity of an unknown digest", answer("42 03 6d6435"), &[("malformed_identity", 49, 3)]),
        ("identity that ends inside a field", answer("0807 2205 0a01"), &[("past_the_end", 50, 1)]),
        ("endpoint that is not UTF-8", answer("2203 0a01 ff"), &[("not_utf8", 51, 1)]),
    ]
}

#[test]
fn each_error_names_its_bytes() {
    for (name, bytes, expected) in errors() {
        assert!(!is_accepted(&bytes), "{name}");
        assert_eq!(problems(&bytes), expected, "{name}\n{}", plain(&bytes));
    }
}

#[test]
fn each_warning_names_its_bytes_and_is_no_error() {
    for (name, bytes, expected) in warnings() {
        assert!(is_accepted(&bytes), "{name}");
        assert_eq!(problems(&bytes), expected, "{name}\n{}", plain(&bytes));
    }
}

#[test]
fn damage_is_rendered_as_in_the_snapshot() {
    let mut text = String::new();
    for (name, bytes, _) in errors().into_iter().chain(warnings()) {
        writeln!(text, "==== {name} ====\n\n{}", plain(&bytes)).unwrap();
    }
    assert_snapshot("damage.txt", &text);
}

fn problems(bytes: &[u8]) -> Vec<(&'static str, usize, usize)> {
    let mut problems = Vec::new();
    for frame in annotate(bytes) {
        let at =
            |problem: &Problem| (problem.reason.code(), frame.offset + problem.at.start, problem.at.len());
        problems.extend(frame.problems.iter().map(at));
    }
    problems
}
