//! A connection is a function of its bytes: its events do not depend on how the stream is cut, and follow the rules.

use crate::common::detectors::{self, any_detector};
use crate::common::watch::{Observed, Outcome, expected, run};
use crate::common::{frame, probe, streams, wire};
use proptest::collection::vec;
use proptest::prelude::*;
use running_process::broker::backend_sdk::{ConnectionConfig, Reclassify};
use running_process::broker::protocol::FrameKind;

fn any_config() -> impl Strategy<Value = ConnectionConfig> {
    (any::<bool>(), any::<bool>()).prop_map(|(strict, every_message)| {
        let mut config = ConnectionConfig::default();
        config.strict = strict;
        config.first_message_bytes = usize::MAX;
        config.reclassify = if every_message { Reclassify::EveryMessage } else { Reclassify::Never };
        config
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_stream_becomes_what_the_rules_say_however_it_is_cut(
        stream in streams::any_stream(),
        sizes in streams::cuts(),
        detector in any_detector(),
        config in any_config(),
        eof in any::<bool>(),
    ) {
        let expected = expected(detector, &config, &stream, eof);
        prop_assert_eq!(&run(detector, &config, &[&stream], eof), &expected, "in one read");
        prop_assert_eq!(&run(detector, &config, &streams::reads(&stream, &sizes), eof), &expected, "cut");
    }

    #[test]
    fn arbitrary_bytes_become_what_the_rules_say_however_they_are_cut(
        stream in vec(prop_oneof![3 => 0..3_u8, 1 => any::<u8>()], 0..80),
        sizes in streams::cuts(),
        detector in any_detector(),
        config in any_config(),
        eof in any::<bool>(),
    ) {
        let expected = expected(detector, &config, &stream, eof);
        prop_assert_eq!(&run(detector, &config, &streams::reads(&stream, &sizes), eof), &expected);
    }
}

#[test]
fn a_mixed_stream_survives_every_cut_in_two_and_every_byte_alone() {
    let messages = [
        probe(1),
        frame(FrameKind::Request, 2, b"first"),
        frame(FrameKind::Event, 2, b""),
        frame(FrameKind::Request, 3, &[9; 300]),
        frame(FrameKind::Cancel, 3, b""),
        probe(4),
        frame(FrameKind::Response, 5, b"to a request of the daemon's own"),
    ];
    let stream = messages.iter().flat_map(wire).collect::<Vec<u8>>();
    let config = ConnectionConfig::default();
    let whole = run(detectors::never, &config, &[&stream], true);
    let seen = vec![
        Observed::ProbeAnswered,
        Observed::Request(messages[1].clone()),
        Observed::Event(messages[2].clone()),
        Observed::Request(messages[3].clone()),
        Observed::Cancel(messages[4].clone()),
        Observed::ProbeAnswered,
        Observed::Response(messages[6].clone()),
        Observed::Closed,
    ];
    assert_eq!(whole.seen, seen);
    assert_eq!(whole, expected(detectors::never, &config, &stream, true));
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        assert_eq!(run(detectors::never, &config, &[first, second], true), whole, "cut at {cut}");
    }
    let bytes = stream.chunks(1).collect::<Vec<_>>();
    assert_eq!(run(detectors::never, &config, &bytes, true), whole);
}

#[test]
fn a_stream_that_ends_anywhere_gives_what_was_complete() {
    let messages = [frame(FrameKind::Request, 1, b"one"), probe(2), frame(FrameKind::Event, 3, b"two")];
    let stream = messages.iter().flat_map(wire).collect::<Vec<u8>>();
    let config = ConnectionConfig::default();
    let mut ends = 0;
    for end in 0..=stream.len() {
        let Outcome { seen, .. } = run(detectors::never, &config, &[&stream[..end]], true);
        ends += usize::from(seen.last() == Some(&Observed::Closed));
        assert_eq!(seen, expected(detectors::never, &config, &stream[..end], true).seen, "ends at {end}");
    }
    assert_eq!(ends, 1 + messages.len(), "only between messages does a stream end well");
}
