//! The texts and objects of frames.

use super::*;

#[test]
fn golden_frames_are_rendered_as_in_the_snapshot() {
    let bytes: Vec<u8> = vectors().into_iter().flat_map(|(_, frame)| frame).collect();
    assert_snapshot("vectors.txt", &plain(&bytes));
}

#[test]
fn sixteen_bytes_a_line_fit_a_wide_terminal() {
    let layout = Layout { palette: Palette::default(), bytes_per_line: 16 };
    let bytes = vector("probe_response_blake3_generation");
    assert_snapshot("wide.txt", &rendered(&bytes, layout));
}

#[test]
fn frames_as_json_match_the_snapshot() {
    let mut bytes = vector("request_traced_deadline");
    bytes.extend(vector("probe_response_sha256_generation"));
    bytes.extend(unhex("01 04 00 00 00 22 c8 01 70"));
    let frames = annotate(&bytes);
    let frames: Vec<_> = frames.iter().enumerate().map(|(index, frame)| json::frame(index, frame)).collect();
    let json = serde_json::to_string_pretty(&frames).unwrap();
    assert_snapshot("document.json", &(json + "\n"));
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let mut bytes: Vec<u8> = vectors().into_iter().flat_map(|(_, frame)| frame).collect();
    bytes.extend(b"rest");
    let layout = Layout { palette: Palette::coloured(), bytes_per_line: 8 };
    let coloured = rendered(&bytes, layout);
    let mut parts = coloured.split("\u{1b}[");
    let mut stripped = parts.next().unwrap().to_owned();
    stripped.extend(parts.map(|part| part.split_once('m').unwrap().1));
    assert!(coloured.len() > stripped.len());
    assert_eq!(stripped, plain(&bytes));
}

#[test]
fn summaries_match_the_snapshot() {
    let mut lines = String::new();
    for (name, bytes) in vectors() {
        writeln!(lines, "{name}\n    {}", summarize(&bytes)).unwrap();
    }
    for (name, bytes) in [
        ("private use", unhex("01 19000000 0801 188de003 220c 474554206772656574696e67 2801 920100")),
        ("damaged", unhex("01 02000000 0f00")),
        ("half", unhex("01 02000000 08")),
        ("legacy", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        ("nothing", Vec::new()),
    ] {
        writeln!(lines, "{name}\n    {}", summarize(&bytes)).unwrap();
    }
    assert_snapshot("summaries.txt", &lines);
}

#[test]
fn a_long_payload_is_elided_but_not_its_problems() {
    let mut text = vec![b'a'; 300];
    text[200] = 0xff;
    let body = [&[0x08, 0x01, 0x42, 0xac, 0x02][..], &text].concat();
    assert_snapshot("elided.txt", &plain(&framed(&body)));
}

#[test]
fn control_sequences_are_escaped() {
    let body = [&[0x08, 0x01, 0x42, 0x0e][..], b"\x1b]0;owned\x07\xe2\x80\xae\n"].concat();
    let shown = plain(&framed(&body));
    assert!(shown.contains(r#""\u{1b}]0;owned\u{7}\u{202e}\n""#), "{shown}");
    assert!(shown.chars().all(|char| char == '\n' || !char.is_control()));
}

#[test]
fn a_time_after_the_year_9999_is_shown_as_a_number() {
    let shown = plain(&framed(&unhex("0801 38 ffffffffffffffffff01")));
    assert!(shown.contains("18446744073709551615 ms, after the year 9999"), "{shown}");
}

#[test]
fn unusual_encodings_that_the_decoder_accepts_have_a_note() {
    let shown = plain(&framed(&unhex("08 8100 1881e08100 10 81808080f01f 28 01 28 02 8801 07")));
    for note in [
        "written in 2 bytes, 1 would do",
        "written in 4 bytes, 3 would do",
        "the low 32 bits of",
        "overridden by a later one",
        "field 17 (unknown, skipped)",
    ] {
        assert!(shown.contains(note), "{note} in:\n{shown}");
    }
}

#[test]
fn a_frame_of_very_many_fields_is_listed_in_part() {
    let capture = framed(&unhex("2801").repeat(100_000));
    let frames = annotate(&capture);
    assert!(frames[0].is_accepted());
    assert!(frames[0].spans.len() < 1_100);
    assert_eq!(frames[0].length, 200_005);
}
