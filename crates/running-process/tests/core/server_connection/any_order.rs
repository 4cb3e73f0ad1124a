//! Properties of a connection under any operations in any order.

use super::{cancel, request, with_output, written};
use crate::common::SERVED;
use proptest::prelude::*;
use running_process::broker::backend_sdk::{CallId, Cancelled, ServerEvent};
use std::collections::HashMap;
use std::time::Duration;

/// The operations on a connection.
#[derive(Clone, Debug)]
enum Move {
    Request { id: u8, patience_ms: Option<u16> },
    Cancel(u8),
    Respond(u8),
    Wait(u16),
    Write,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..6_u8, proptest::option::of(1..500_u16))
            .prop_map(|(id, patience_ms)| Move::Request { id, patience_ms }),
        1 => (0..6_u8).prop_map(Move::Cancel),
        3 => any::<u8>().prop_map(Move::Respond),
        1 => (0..300_u16).prop_map(Move::Wait),
        1 => Just(Move::Write),
    ];
    proptest::collection::vec(one, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Checks that each request gets exactly one last frame, and that no call is reported twice.
    #[test]
    fn every_request_is_answered_once(moves in moves()) {
        let (mut server, mut now) = with_output(400, |config| config.max_in_flight = 3);
        let mut requests = HashMap::<u64, usize>::new();
        let mut answers = HashMap::<u64, usize>::new();
        let mut patience = Vec::new();
        let mut open: Vec<CallId> = Vec::new();
        let mut told: Vec<CallId> = Vec::new();
        let settle = |moves: Vec<Move>| moves.into_iter().chain((0..400).flat_map(|_| [Move::Respond(0), Move::Write]));
        for step in settle(moves) {
            match step {
                Move::Request { id, patience_ms } => {
                    *requests.entry(id.into()).or_default() += 1;
                    patience.push(patience_ms);
                    server.receive(&request(id.into()), now);
                }
                Move::Cancel(id) => server.receive(&cancel(id.into()), now),
                Move::Respond(which) if !open.is_empty() => {
                    let call = open.remove(usize::from(which) % open.len());
                    server.respond(call, [which; 50]).unwrap();
                }
                Move::Respond(_) => {}
                Move::Wait(ms) => {
                    now += Duration::from_millis(ms.into());
                    server.handle_timeout(now);
                }
                Move::Write => {
                    for answer in written(&mut server, now) {
                        *answers.entry(answer.request_id).or_default() += 1;
                    }
                }
            }
            while let Some(event) = server.next_event().unwrap() {
                match event {
                    ServerEvent::Request(call) => {
                        let deadline = patience.remove(0).map(|ms| now + Duration::from_millis(ms.into()));
                        open.push(call.admit(deadline));
                    }
                    ServerEvent::Cancelled(Cancelled { call, .. }) => {
                        prop_assert!(!told.contains(&call), "told twice");
                        prop_assert!(open.contains(&call), "no handler works on it");
                        told.push(call);
                    }
                    ServerEvent::Unasked(frame) => prop_assert_eq!(frame.payload_protocol, SERVED),
                    other => panic!("{other:?}"),
                }
            }
            prop_assert!(server.in_flight() <= 3);
        }
        prop_assert_eq!((server.in_flight(), requests), (0, answers));
    }
}
