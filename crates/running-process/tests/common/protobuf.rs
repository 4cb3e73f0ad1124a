//! Strategies for streams of protobuf fields: valid, invalid and unusual ones.

use proptest::collection::vec;
use proptest::prelude::*;

/// Returns `value` as a varint of at least `length` bytes, which may be longer than needed.
pub(crate) fn varint(mut value: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 && bytes.len() + 1 >= length {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

pub(crate) fn key(tag: u64, wire_type: u64) -> Vec<u8> {
    varint(tag << 3 | wire_type, 1)
}

/// Returns a length-delimited field.
pub(crate) fn delimited(tag: u64, value: &[u8]) -> Vec<u8> {
    [key(tag, 2), varint(value.len() as u64, 1), value.to_vec()].concat()
}

/// Returns `depth` nested groups around `inside`.
pub(crate) fn nested_groups(tag: u64, depth: usize, inside: &[u8]) -> Vec<u8> {
    [key(tag, 3).repeat(depth), inside.to_vec(), key(tag, 4).repeat(depth)].concat()
}

fn any_varint() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![0..300_u64, any::<u32>().prop_map(u64::from), any::<u64>()];
    // Up to twelve bytes; a varint has at most ten.
    prop_oneof![
        8 => value.clone().prop_map(|value| varint(value, 1)),
        1 => (value, 1..12_usize).prop_map(|(value, length)| varint(value, length)),
        1 => vec(128..=255_u8, 9).prop_flat_map(|start| {
            any::<u8>().prop_map(move |last| [&start[..], &[last]].concat())
        }),
    ]
}

/// Returns a length and, mostly, as many bytes.
fn any_delimited() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        3 => super::streams::text().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..20),
    ];
    let claimed = prop_oneof![
        12 => Just(None),
        1 => (0..40_u64).prop_map(Some),
        1 => any::<u64>().prop_map(Some),
    ];
    (value, claimed)
        .prop_map(|(value, claimed)| [varint(claimed.unwrap_or(value.len() as u64), 1), value].concat())
}

/// Returns any value for a field of `wire_type`, which may not exist.
fn value_of(wire_type: u64, tag: u64) -> BoxedStrategy<Vec<u8>> {
    match wire_type {
        0 => any_varint().boxed(),
        1 => vec(any::<u8>(), 8).boxed(),
        2 => any_delimited().boxed(),
        3 => {
            let inside = prop_oneof![Just(Vec::new()), leaf()];
            let depth = prop_oneof![6 => 1..5_usize, 1 => 95..105_usize];
            let end = prop_oneof![8 => Just(tag), 1 => Just(tag ^ 1)];
            (inside, depth, end)
                .prop_map(move |(inside, depth, end)| {
                    let start = key(tag, 3).repeat(depth - 1);
                    [start, inside, key(end, 4).repeat(depth)].concat()
                })
                .boxed()
        }
        5 => vec(any::<u8>(), 4).boxed(),
        _ => Just(Vec::new()).boxed(),
    }
}

fn leaf() -> impl Strategy<Value = Vec<u8>> {
    (1..20_u64, prop_oneof![Just(0_u64), Just(1), Just(2), Just(5)]).prop_flat_map(|(tag, wire_type)| {
        value_of(wire_type, tag).prop_map(move |value| [key(tag, wire_type), value].concat())
    })
}

/// Returns one field, known or unknown.
fn any_field() -> impl Strategy<Value = Vec<u8>> {
    let known = (1..10_u64).prop_map(|tag| (tag, if [4, 8, 9].contains(&tag) { 2 } else { 0 }));
    let tag = prop_oneof![
        3 => 1..16_u64,
        2 => 16..3000_u64,
        1 => Just(1000),
        1 => Just((1 << 29) - 1),
        1 => prop_oneof![Just(0_u64), Just(1 << 29), any::<u32>().prop_map(u64::from)],
    ];
    let any = (tag, prop_oneof![9 => 0..6_u64, 1 => 6..8_u64]);
    prop_oneof![4 => known.boxed(), 2 => any.boxed()].prop_flat_map(|(tag, wire_type)| {
        let overlong = prop_oneof![12 => Just(1_usize), 1 => 2..8_usize];
        (overlong, value_of(wire_type, tag))
            .prop_map(move |(length, value)| [varint(tag << 3 | wire_type, length), value].concat())
    })
}

/// Returns fields in any order and number, sometimes cut off.
pub(crate) fn any_fields() -> impl Strategy<Value = Vec<u8>> {
    let whole = vec(any_field(), 0..8).prop_map(|fields| fields.concat()).boxed();
    prop_oneof![
        5 => whole.clone(),
        1 => (whole, any::<prop::sample::Index>()).prop_map(|(mut fields, length)| {
            fields.truncate(length.index(fields.len() + 1));
            fields
        }),
    ]
}
