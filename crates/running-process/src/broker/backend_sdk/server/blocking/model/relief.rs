//! A thread that polls, and the one that takes its role over.

use super::{Mode, Model, RESPONSE, ServerRequest, daemon};
use crate::broker::backend_sdk::model_check::check;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::blocking::adaptive::Role;
use crate::broker::backend_sdk::server::handler::HandlerError;
use crate::broker::protocol::FrameKind;
use std::sync::Arc;

#[test]
fn a_request_of_a_thread_that_is_relieved_sees_the_cancel_behind_it() {
    fn until_cancelled(request: &ServerRequest) -> Result<Payload, HandlerError> {
        let _reason = request.cancellation().wait(None);
        Ok(Payload::default())
    }
    check(|| {
        let model = Model::unpolled(Mode::Poller, until_cancelled, |_| {});
        model.context.policy.mux.identify(Some(daemon()));
        let peer = model.connect();
        // One read takes the first of them and not the second.
        peer.send(FrameKind::Request, [1]);
        peer.send(FrameKind::Cancel, [1]);

        let context = &model.context;
        let lane = context.watchdog.add(Role::Poller);
        let conn = context.all().pop().expect("it is connected");
        let poller = context.poller.as_ref().expect("the mode has one");
        // This thread polls, and no later poll reports what has arrived.
        poller.poll(None, |_, events| conn.leave(events)).expect("the model's does not fail");
        assert!(lane.begin(conn.id));
        context.relieve(Arc::clone(&lane), 1);
        conn.drive(Some(&lane));
        drop(conn);
        if lane.end() {
            context.start_poller().expect("a thread");
        }
        context.watchdog.remove(&lane);

        assert_eq!(peer.receive(1), [(RESPONSE, 1, true)]);
        peer.0.end();
        model.end();
        assert!(peer.0.is_over());
    });
}
