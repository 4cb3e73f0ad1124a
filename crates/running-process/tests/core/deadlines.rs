//! The deadlines of a connection. Time is simulated: nothing here waits.

use crate::common::watch::{Observed, Watched};
use crate::common::{Detector, detectors, frame, wire};
use running_process::broker::backend_sdk::{ConnectionConfig, ConnectionEvent, Reclassify};
use running_process::broker::protocol::{Frame, FrameKind};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(10);
const MESSAGE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_mins(1);
const PROBED: Duration = Duration::from_mins(2);
const UNDECIDED: Duration = Duration::from_millis(50);
const ALMOST_UNDECIDED: Duration = Duration::from_millis(49);
const TICK: Duration = Duration::from_millis(1);

const TOO_LATE_FIRST: &str = "the peer was too slow: waited for the first message";
const TOO_LATE_REST: &str = "the peer was too slow: waited for the rest of a message";
const TOO_LATE_NEXT: &str = "the peer was too slow: waited for the next message";

fn config() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.first_message_timeout = FIRST;
    config.message_timeout = MESSAGE;
    config.idle_timeout = Some(IDLE);
    config.probed_timeout = PROBED;
    config.undecided_frame_timeout = UNDECIDED;
    config
}

fn start(detector: Detector) -> (Watched, Instant) {
    let now = Instant::now();
    (Watched::new(detector, &config(), now), now)
}

fn request(payload: &[u8]) -> Frame {
    frame(FrameKind::Request, 1, payload)
}

fn failed(message: &str) -> Observed {
    Observed::Failed(message.into())
}

/// Checks that nothing happens a tick before `deadline`, that `seen` happens at it, and that no deadline follows.
fn ends_at(mut watched: Watched, deadline: Instant, seen: Observed) {
    assert_eq!(watched.connection.deadline(), Some(deadline));
    let before = watched.outcome.seen.clone();
    watched.handle_timeout(deadline.checked_sub(TICK).expect("deadlines lie in the future"));
    assert_eq!(watched.outcome.seen, before);
    assert_eq!(watched.connection.deadline(), Some(deadline));
    watched.handle_timeout(deadline);
    assert_eq!(watched.outcome.seen, [before, vec![seen]].concat());
    assert_eq!(watched.connection.deadline(), None);
}

#[test]
fn a_silent_peer_has_until_the_first_message_is_due() {
    let (watched, start) = start(detectors::never);
    ends_at(watched, start + FIRST, failed(TOO_LATE_FIRST));
}

#[test]
fn bytes_of_the_first_message_gain_no_time() {
    let (mut watched, start) = start(detectors::never);
    let wire = wire(&request(&[7; 100]));
    for (second, byte) in (1_u64..10).zip(&wire) {
        watched.receive(&[*byte], start + Duration::from_secs(second));
    }
    ends_at(watched, start + FIRST, failed(TOO_LATE_FIRST));
}

#[test]
fn a_dripping_peer_is_cut_off_when_its_message_has_taken_too_long() {
    let (mut watched, start) = start(detectors::never);
    watched.receive(&wire(&request(b"first")), start);
    let began = start + Duration::from_secs(40);
    for (second, byte) in (0_u64..30).zip(wire(&request(&[7; 100]))) {
        watched.receive(&[byte], began + Duration::from_secs(second));
        assert_eq!(watched.connection.deadline(), Some(began + MESSAGE));
    }
    ends_at(watched, began + MESSAGE, failed(TOO_LATE_REST));
}

#[test]
fn a_message_that_began_with_the_end_of_another_has_its_own_time() {
    let (mut watched, start) = start(detectors::never);
    let wire = wire(&request(b"two of them"));
    watched.receive(&wire[..9], start);
    let later = start + Duration::from_secs(5);
    watched.receive(&[&wire[9..], &wire[..3]].concat(), later);
    assert_eq!(watched.outcome.seen.len(), 1);
    ends_at(watched, later + MESSAGE, failed(TOO_LATE_REST));
}

#[test]
fn between_messages_only_idleness_counts() {
    let (mut watched, start) = start(detectors::never);
    let done = start + Duration::from_secs(9);
    watched.receive(&wire(&request(b"x")), done);
    ends_at(watched, done + IDLE, failed(TOO_LATE_NEXT));
}

#[test]
fn a_byte_in_either_direction_ends_idleness() {
    let (mut watched, start) = start(detectors::never);
    watched.receive(&wire(&frame(FrameKind::Event, 1, b"")), start);
    let sent = start + Duration::from_secs(50);
    watched.connection.send(&request(b"of the daemon's own").borrowed()).unwrap();
    assert_eq!(watched.connection.deadline(), Some(start + IDLE), "nothing is written yet");
    watched.connection.output_written(0, sent);
    assert_eq!(watched.connection.deadline(), Some(start + IDLE), "nor now");
    watched.connection.output_written(1, sent);
    assert_eq!(watched.connection.deadline(), Some(sent + IDLE));
    let received = sent + Duration::from_secs(50);
    watched.receive(&wire(&frame(FrameKind::Event, 1, b"")), received);
    ends_at(watched, received + IDLE, failed(TOO_LATE_NEXT));
}

#[test]
fn without_an_idle_limit_a_connection_is_kept_for_ever() {
    let mut config = config();
    config.idle_timeout = None;
    let start = Instant::now();
    let mut watched = Watched::new(detectors::never, &config, start);
    watched.receive(&wire(&request(b"x")), start);
    assert_eq!(watched.connection.deadline(), None);
    watched.handle_timeout(start + Duration::from_secs(1_000_000));
    assert_eq!(watched.outcome.seen.len(), 1);
}

#[test]
fn a_limit_beyond_the_clock_is_none() {
    let mut config = config();
    config.first_message_timeout = Duration::MAX;
    let watched = Watched::new(detectors::never, &config, Instant::now());
    assert_eq!(watched.connection.deadline(), None);
}

#[test]
fn a_message_that_came_whole_before_the_timeout_was_taken_in_is_served() {
    let (mut watched, start) = start(detectors::never);
    watched.connection.handle_timeout(start + FIRST);
    watched.receive(&wire(&request(b"just in time")), start + FIRST);
    assert_eq!(watched.outcome.seen, [Observed::Request(request(b"just in time"))]);
    assert_eq!(watched.connection.deadline(), Some(start + FIRST + IDLE));
}

#[test]
fn a_timeout_that_is_taken_in_behind_a_whole_message_ends_nothing() {
    let (mut watched, start) = start(detectors::never);
    let due = start + FIRST;
    watched.connection.receive(&wire(&request(b"just in time")), due);
    watched.connection.handle_timeout(due);
    assert!(matches!(watched.connection.next_event(), Ok(Some(ConnectionEvent::Request(_)))));
    assert!(matches!(watched.connection.next_event(), Ok(None)));
    assert_eq!(watched.connection.deadline(), Some(due + IDLE));
}

#[test]
fn a_message_that_begins_just_before_idleness_is_taken_in_has_its_own_time() {
    let (mut watched, start) = start(detectors::never);
    watched.receive(&wire(&frame(FrameKind::Event, 1, b"")), start);
    watched.connection.handle_timeout(start + IDLE);
    watched.receive(&[1], start + IDLE);
    assert_eq!(watched.outcome.seen.len(), 1);
    ends_at(watched, start + IDLE + MESSAGE, failed(TOO_LATE_REST));
}

#[test]
fn after_a_probe_something_else_is_due() {
    let (mut watched, start) = start(detectors::never);
    watched.receive(&wire(&crate::common::probe(1)), start);
    assert_eq!(watched.connection.deadline(), Some(start + PROBED));
    watched.receive(&[1], start + TICK);
    ends_at(watched, start + TICK + MESSAGE, failed(TOO_LATE_REST));
}

#[test]
fn after_a_hand_over_nothing_is_waited_for() {
    let (mut watched, start) = start(detectors::asterisk);
    watched.receive(b"*1\r\n", start);
    assert_eq!(watched.connection.deadline(), None);
    watched.handle_timeout(start + Duration::from_secs(1000));
    assert_eq!(watched.outcome.seen, [Observed::Legacy(b"*1\r\n".to_vec())]);
}

#[test]
fn a_complete_frame_that_the_detector_leaves_open_is_a_frame_after_a_short_wait() {
    let (mut watched, start) = start(detectors::thirty_two);
    let received = start + Duration::from_secs(1);
    watched.receive(&wire(&request(b"short")), received);
    assert_eq!(watched.outcome.seen, []);
    assert_eq!(watched.connection.deadline(), Some(received + UNDECIDED));
    watched.handle_timeout(received + ALMOST_UNDECIDED);
    assert_eq!(watched.outcome.seen, []);
    watched.handle_timeout(received + UNDECIDED);
    assert_eq!(watched.outcome.seen, [Observed::Request(request(b"short"))]);
    let answered = received + UNDECIDED;
    assert_eq!(watched.connection.deadline(), Some(answered + IDLE));
}

#[test]
fn the_short_wait_starts_anew_with_bytes_that_may_decide() {
    let (mut watched, start) = start(detectors::thirty_two);
    let wire = wire(&request(b"short"));
    watched.receive(&wire, start);
    watched.receive(b"*", start + TICK);
    assert_eq!(watched.connection.deadline(), Some(start + TICK + UNDECIDED));
    let rest = [&[0; 32][..31 - wire.len() - 1], b"!"].concat();
    watched.receive(&rest, start + 2 * TICK);
    assert_eq!(watched.outcome.seen, [Observed::Legacy([&wire[..], b"*", &rest].concat())]);
}

#[test]
fn a_peer_that_drips_behind_a_held_frame_gains_no_time() {
    let (mut watched, start) = start(detectors::undecided);
    watched.receive(&wire(&request(b"short")), start);
    let mut now = start;
    for byte in wire(&request(&[7; 1000])) {
        now += ALMOST_UNDECIDED;
        if now >= start + FIRST {
            break;
        }
        watched.receive(&[byte], now);
        assert!(watched.connection.deadline() <= Some(start + FIRST));
    }
    assert_eq!(watched.connection.deadline(), Some(start + FIRST));
    watched.handle_timeout(start + FIRST);
    assert_eq!(watched.outcome.seen, [Observed::Request(request(b"short"))]);
}

#[test]
fn what_is_no_complete_frame_waits_for_the_first_message_and_is_legacy_then() {
    for bytes in [&b"*"[..], &[1, 2], &[1, 1, 0, 0, 1]] {
        let (mut watched, start) = start(detectors::length_and_version);
        watched.receive(bytes, start + TICK);
        ends_at(watched, start + FIRST, Observed::Legacy(bytes.to_vec()));
    }
}

#[test]
fn a_later_message_may_be_held_back_too_where_every_one_is_classified() {
    let mut config = config();
    config.reclassify = Reclassify::EveryMessage;
    let start = Instant::now();
    let mut watched = Watched::new(detectors::thirty_two, &config, start);
    watched.receive(&wire(&request(&[7; 40])), start);
    let later = start + Duration::from_secs(20);
    watched.receive(&wire(&request(b"short")), later);
    assert_eq!(watched.connection.deadline(), Some(later + UNDECIDED));
    watched.handle_timeout(later + UNDECIDED);
    let seen = [Observed::Request(request(&[7; 40])), Observed::Request(request(b"short"))];
    assert_eq!(watched.outcome.seen, seen);
}
