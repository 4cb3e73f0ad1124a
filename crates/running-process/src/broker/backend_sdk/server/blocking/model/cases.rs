//! Whole servers, in both modes.

use super::{INLINE, Mode, Model, Peer, RESPONSE, ServerRequest, WORK, check_modes, daemon, echo};
use crate::broker::backend_sdk::model_check::check;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::CancelReason;
use crate::broker::backend_sdk::server::cancellation::Cancellation;
use crate::broker::backend_sdk::server::handler::HandlerError;
use crate::broker::backend_sdk::server::sync::thread;
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{FrameKind, FrameRef};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn every_request_is_answered_once_within_the_limit_and_the_connection_ends() {
    check_modes(|mode| {
        let model = Model::new(mode, echo, |config| {
            config.connection.max_in_flight = 2;
            config.send_high_water = 40;
        });
        let peer = model.connect();
        let sender = Arc::clone(&peer);
        let sending = thread::spawn(move || {
            sender.send(FrameKind::Request, [1, 2]);
            sender.send(FrameKind::Request, [3, 4]);
            sender.0.end();
        });
        let mut answers = peer.receive(4);
        answers.sort_unstable();
        assert_eq!(answers, [1, 2, 3, 4].map(|id| (RESPONSE, id, false)));
        sending.join().expect("it has sent");
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn each_request_of_a_connection_that_stays_open_is_answered() {
    check_modes(|mode| {
        let model = Model::new(mode, echo, |_| {});
        let peer = model.connect();
        for id in 1..4 {
            peer.send(FrameKind::Request, [id]);
            assert_eq!(peer.receive(1), [(RESPONSE, id, false)]);
        }
        model.stop();
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn connections_that_are_busy_in_turns_are_served() {
    check_modes(|mode| {
        let model = Model::new(mode, echo, |_| {});
        let peers = [model.connect(), model.connect()];
        for id in 1..3 {
            for peer in &peers {
                peer.send_frames([
                    FrameRef::request(INLINE, id, b"x"),
                    FrameRef::request(WORK, id + 10, b"x"),
                ]);
                let mut answers = peer.receive(2);
                answers.sort_unstable();
                assert_eq!(answers, [id, id + 10].map(|id| (RESPONSE, id, false)));
            }
        }
        peers.iter().for_each(|peer| peer.0.end());
        model.end();
        assert!(peers.iter().all(|peer| peer.0.is_over()));
    });
}

#[test]
fn a_stop_loses_no_request_that_was_received() {
    check_modes(|mode| {
        let model = Model::new(mode, echo, |config| config.connection.max_in_flight = 1);
        let peers = [model.connect(), model.connect()];
        for peer in &peers {
            peer.send(FrameKind::Request, [1, 2]);
        }
        model.stop();
        for peer in &peers {
            assert_eq!(peer.receive(2), [(RESPONSE, 1, false), (RESPONSE, 2, false)]);
        }
        model.end();
        assert!(peers.iter().all(|peer| peer.0.is_over()));
    });
}

#[test]
fn a_peer_that_hangs_up_ends_its_handlers_and_no_others() {
    fn until_cancelled(request: &ServerRequest) -> Result<Payload, HandlerError> {
        match request.frame().request_id {
            1 => {
                let _reason = request.cancellation().wait(None);
            }
            _ => assert_eq!(request.cancelled(), None),
        }
        Ok(Payload::default())
    }
    check_modes(|mode| {
        let model = Model::new(mode, until_cancelled, |_| {});
        let (goes, stays) = (model.connect(), model.connect());
        let going = thread::spawn(move || {
            goes.send(FrameKind::Request, [1]);
            goes.0.go();
        });
        stays.send(FrameKind::Request, [2]);
        assert_eq!(stays.receive(1), [(RESPONSE, 2, false)]);
        stays.0.end();
        going.join().expect("it is gone");
        model.end();
    });
}

#[test]
fn a_cancel_reaches_its_request_and_one_last_frame_answers() {
    fn impatient(request: &ServerRequest) -> Result<Payload, HandlerError> {
        let _reason = request.cancellation().wait(None);
        Ok(Payload::default())
    }
    check_modes(|mode| {
        let model = Model::new(mode, impatient, |_| {});
        let peer = model.connect();
        peer.send(FrameKind::Request, [1, 2]);
        peer.send(FrameKind::Cancel, [2, 1]);
        let mut answers = peer.receive(2);
        answers.sort_unstable();
        assert_eq!(answers, [(RESPONSE, 1, true), (RESPONSE, 2, true)]);
        peer.0.end();
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn events_keep_their_order_and_come_before_their_answer_although_the_output_is_full() {
    fn streaming(request: &ServerRequest) -> Result<Payload, HandlerError> {
        for _ in 0..3 {
            request.send_event(b"event")?;
        }
        Ok(b"end".into())
    }
    check_modes(|mode| {
        let model = Model::new(mode, streaming, |config| config.send_high_water = 1);
        let peer = model.connect();
        peer.send(FrameKind::Request, [1, 2]);
        peer.0.end();
        let frames = peer.receive(8);
        for id in [1, 2] {
            let kinds: Vec<_> = frames.iter().filter(|frame| frame.1 == id).map(|frame| frame.0).collect();
            assert_eq!(kinds, [2, 2, 2, RESPONSE]);
        }
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn output_that_the_socket_does_not_take_is_written_once_it_does() {
    fn large(request: &ServerRequest) -> Result<Payload, HandlerError> {
        if request.frame().request_id == 1 {
            request.send_event([7; 60])?;
        }
        Ok(vec![7; 60].into())
    }
    check_modes(|mode| {
        let model = Model::new(mode, large, |config| config.send_high_water = 50);
        let peer = model.connect();
        let sender = Arc::clone(&peer);
        let sending = thread::spawn(move || {
            sender.send(FrameKind::Request, [1]);
            sender.send_frames([FrameRef::request(INLINE, 2, &[7; 60])]);
            sender.send(FrameKind::Request, [3]);
        });
        let mut ids: Vec<_> = peer.receive(4).iter().map(|frame| frame.1).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 1, 2, 3]);
        sending.join().expect("it has sent");
        peer.0.end();
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn a_slow_request_holds_up_none_behind_it() {
    check_modes(|mode| {
        let gate = Cancellation::default();
        let closed = gate.clone();
        let slow = move |request: &ServerRequest| {
            if request.frame().request_id == 1 {
                let _opened = closed.wait(None);
            }
            Ok(Payload::default())
        };
        let model = Model::new(mode, slow, |_| {});
        let peer = model.connect();
        peer.send(FrameKind::Request, [1, 2]);
        assert_eq!(peer.receive(1), [(RESPONSE, 2, false)]);
        peer.send_frames([FrameRef::request(INLINE, 3, b"x")]);
        assert_eq!(peer.receive(1), [(RESPONSE, 3, false)]);
        let other = model.connect();
        other.send(FrameKind::Request, [4]);
        assert_eq!(other.receive(1), [(RESPONSE, 4, false)]);
        gate.cancel(CancelReason::Requested);
        assert_eq!(peer.receive(1), [(RESPONSE, 1, false)]);
        peer.send(FrameKind::Request, [5]);
        assert_eq!(peer.receive(1), [(RESPONSE, 5, false)]);
        model.stop();
        model.end();
        assert!(peer.0.is_over() && other.0.is_over());
    });
}

#[test]
fn a_connection_that_all_are_woken_beside_is_served() {
    check_modes(|mode| {
        let model = Model::new(mode, echo, |_| {});
        let peer = model.connect();
        let context = Arc::clone(&model.context);
        let waking = thread::spawn(move || {
            for _ in 0..3 {
                context.wake_all();
            }
        });
        for id in 1..4 {
            peer.send(FrameKind::Request, [id]);
            assert_eq!(peer.receive(1), [(RESPONSE, id, false)]);
        }
        waking.join().expect("it has woken them");
        peer.0.end();
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn a_connection_whose_deadline_has_passed_is_ended() {
    // Where a thread reads each connection, a read of the model does not time out.
    check(|| {
        let model = Model::new(Mode::Poller, echo, |config| {
            config.connection.first_message_timeout = Duration::from_nanos(1);
        });
        let peer = model.connect();
        assert!(peer.0.is_over());
        assert_eq!(model.end_with_errors().len(), 1);
    });
}

/// Sends a request, a probe behind it, and a request behind that.
fn send_around_a_probe(peer: &Peer) {
    let request = |id| FrameRef::request(WORK, id, b"x");
    let probe = FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, 2, &[7; 32]);
    peer.send_frames([request(1), probe, request(3)]);
    peer.0.end();
}

#[test]
fn a_probe_and_what_is_behind_it_are_answered_whenever_the_identity_comes() {
    check_modes(|mode| {
        let model = Model::unidentified(mode, echo, |_| {});
        let peer = model.connect();
        let context = Arc::clone(&model.context);
        let identifying = thread::spawn(move || {
            context.policy.mux.identify(Some(daemon()));
            context.wake_all();
        });
        send_around_a_probe(&peer);
        let mut answers = peer.receive(3);
        answers.sort_unstable();
        assert_eq!(answers, [(RESPONSE, 1, false), (RESPONSE, 2, true), (RESPONSE, 3, false)]);
        identifying.join().expect("it has told");
        model.end();
        assert!(peer.0.is_over());
    });
}

#[test]
fn a_probe_whose_identity_never_comes_is_not_answered_and_requests_are() {
    check_modes(|mode| {
        let model = Model::unidentified(mode, echo, |_| {});
        let peer = model.connect();
        send_around_a_probe(&peer);
        let context = Arc::clone(&model.context);
        model.stop();
        let failing = thread::spawn(move || {
            context.policy.mux.identify(None);
            context.wake_all();
        });
        assert_eq!(peer.receive(1), [(RESPONSE, 1, false)]);
        failing.join().expect("it has told");
        model.end();
        assert!(peer.0.is_over());
    });
}
