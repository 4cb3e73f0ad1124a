//! Golden bytes with snapshots of their texts, every kind of damage, and the two properties of the module.

mod damage;
mod properties;
mod shown;

use super::problem::Problem;
use super::*;
use std::fmt::Write as _;

/// Returns frames of published peers with their names.
fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("../../../tests/vectors.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, hex)| (name, unhex(hex))).collect()
}

fn vector(name: &str) -> Vec<u8> {
    vectors().into_iter().find(|(other, _)| *other == name).unwrap().1
}

/// Parses hex digits and ignores white space.
fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|char| !char.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

/// Returns a frame with this body, which need not be valid.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend(body);
    bytes
}

fn rendered(bytes: &[u8], layout: Layout) -> String {
    let mut text = String::new();
    let mut totals = Totals::default();
    for (index, frame) in annotate(bytes).iter().enumerate() {
        write!(text, "{}", render::frame(index, frame, layout)).unwrap();
        totals.add(frame);
    }
    text + &render::verdict(totals, layout.palette).to_string()
}

fn is_accepted(bytes: &[u8]) -> bool {
    annotate(bytes).iter().all(AnnotatedFrame::is_accepted)
}

fn plain(bytes: &[u8]) -> String {
    let layout = Layout { palette: Palette::default(), bytes_per_line: 8 };
    rendered(bytes, layout)
}

/// Compares with `tests/snapshots/{name}`; `UPDATE_SNAPSHOTS=1` writes it.
fn assert_snapshot(name: &str, actual: &str) {
    let path = format!("{}/tests/snapshots/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    assert!(expected == actual, "{name} differs; UPDATE_SNAPSHOTS=1 accepts this:\n{actual}");
}
