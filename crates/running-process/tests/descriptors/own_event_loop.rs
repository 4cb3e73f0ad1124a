//! The event loop of the example `own_event_loop`.

use super::daemon::{Driver, INLINE, Request, SERVED, answer, inline};
use event_loop::{EventLoop, Handler, Request as LoopRequest};
use running_process::Endpoint;
use running_process::broker::backend_sdk::{
    LocalListener, ServeError, ServerBuilder, ServerConfig, ServerStats, ServerStop,
};
use std::sync::Arc;

#[allow(dead_code, reason = "the handlers of the tests use one part of it, and the example another")]
#[path = "../../examples/own_event_loop/event_loop/mod.rs"]
mod event_loop;

pub(crate) struct OwnEventLoop;

impl Driver for OwnEventLoop {
    fn run(
        endpoint: Endpoint,
        config: ServerConfig,
        report: impl Fn(&ServeError) + Send + Sync + 'static,
        ready: impl FnOnce(ServerStop, ServerStats),
    ) {
        let listener = LocalListener::bind(&endpoint.path).unwrap();
        let serve = |mut request: LoopRequest| {
            let (descriptors, accepted) = (request.take_descriptors(), request.accepted_descriptors());
            let payload = request.payload();
            let send_event = &mut |event| request.send_event(event);
            answer(Request { payload, descriptors, accepted, send_event })
        };
        let builder = ServerBuilder::<Handler>::new(endpoint).config(config).observe(report);
        let builder = builder.serve_inline(INLINE, inline).serve(SERVED, Arc::new(serve));
        ready(builder.stop_handle(), builder.stats());
        EventLoop::new(listener, builder, None).unwrap().run().unwrap();
    }
}
