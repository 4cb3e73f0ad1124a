//! Requests that a driver has taken, and of which the daemon has received nothing.

use super::{Pending, Request, RequestQueue};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::protocol::header::complete_body;
use crate::broker::protocol::{FRAME_HEADER_BYTES, FrameKind, FrameRef, MAX_FRAME_BYTES, PayloadEncoding};
use std::task::Waker;

impl RequestQueue {
    /// Takes the requests in `output` back: whole frames of which no byte was written. They are unsent from now on.
    ///
    /// A request with events, with descriptors, or with an encoded payload, fails.
    pub(in super::super) fn take_back(&self, output: &[u8]) {
        let mut state = self.state();
        let mut wakers = Vec::new();
        for (id, request) in requests(output).into_iter().rev() {
            match (state.pending.get_mut(&id), request) {
                (Some(Pending::Waiting(_)), Some(request)) => state.unsent.push_front((id, request)),
                (Some(pending), _) => wakers.extend(pending.fail(&FrameClientError::NotReceived)),
                // Its caller has given it up.
                (None, _) => {}
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Returns the requests in `output`, in order; `None` in the place of one with descriptors or an encoded payload.
fn requests(mut output: &[u8]) -> Vec<(RequestId, Option<Request>)> {
    let mut requests = Vec::new();
    while let Ok(Some(body)) = complete_body(output, MAX_FRAME_BYTES) {
        output = &output[FRAME_HEADER_BYTES + body.len()..];
        let Ok(frame) = FrameRef::decode(body) else { break };
        if frame.kind != FrameKind::Request as i32 {
            continue;
        }
        let is_plain =
            frame.payload_encoding == PayloadEncoding::None as i32 && frame.descriptors.count() == 0;
        let options = RequestOptions::new()
            .with_trace_context(frame.traceparent, frame.tracestate)
            .with_max_descriptors(frame.descriptors.accepted().into());
        let request = is_plain.then(|| Request {
            payload_protocol: frame.payload_protocol,
            payload: frame.payload.to_vec().into(),
            deadline_unix_ms: frame.deadline_unix_ms,
            options: options.has_fields().then(|| Box::new(options)),
            events: false,
        });
        requests.push((RequestId(frame.request_id), request));
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, StreamItem};
    use super::*;
    use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
    use crate::broker::backend_sdk::proto::client_connection::{ClientConnection, RequestHead};
    use std::pin::pin;
    use std::task::{Context, Poll};

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn request(payload: &[u8], trace: &str, events: bool) -> Request {
        let options = RequestOptions::new().with_trace_context(trace, "");
        Request::new(0xF00D, payload.to_vec().into(), CallDeadline::NONE, Some(&options), events)
    }

    #[test]
    fn whole_requests_are_found_in_the_output_and_nothing_else() {
        let mut connection = ClientConnection::new();
        let head = RequestHead { deadline_unix_ms: 7, traceparent: TRACE, ..RequestHead::default() };
        for (id, payload) in [(3, &b"first"[..]), (4, b"")] {
            connection.send_payload_as(RequestId(id), 0xF00D, payload.to_vec().into(), &head).unwrap();
        }
        connection.cancel(RequestId(3));
        connection.send_payload_as(RequestId(5), 0xF00E, b"last".into(), &RequestHead::default()).unwrap();
        let output = connection.output().to_vec();
        let found = |output: &[u8]| {
            let parts = |(RequestId(id), request): (_, Option<Request>)| {
                let Request { payload_protocol, payload, deadline_unix_ms, options, .. } = request.unwrap();
                let trace = options.map(|options| options.traceparent);
                (id, payload_protocol, payload.to_vec(), deadline_unix_ms, trace)
            };
            requests(output).into_iter().map(parts).collect::<Vec<_>>()
        };
        let trace = || Some(TRACE.to_owned());
        let [first, second, last] = [
            (3, 0xF00D, b"first".to_vec(), 7, trace()),
            (4, 0xF00D, Vec::new(), 7, trace()),
            (5, 0xF00E, b"last".to_vec(), 0, None),
        ];
        assert_eq!(found(&output), [first.clone(), second.clone(), last]);
        assert_eq!(found(&output[..output.len() - 1]), [first, second]);
        assert_eq!(found(b"no frame"), []);
    }

    #[test]
    fn requests_without_events_are_unsent_again_and_the_others_have_failed() {
        let queue = RequestQueue::default();
        let context = &mut Context::from_waker(Waker::noop());
        let mut plain = pin!(queue.submit(request(b"plain", "", false)));
        assert!(plain.as_mut().poll(context).is_pending());
        let stream = queue.begin_stream(request(b"stream", "", true)).unwrap();
        let (mut connection, mut batch) = (ClientConnection::new(), Batch::default());
        let mut send_batch = |connection: &mut ClientConnection| {
            queue.take_batch(None, usize::MAX, Waker::noop(), &mut batch);
            let ids: Vec<_> = batch.requests.iter().map(|(id, _)| *id).collect();
            for (id, Request { payload_protocol, payload, events, .. }) in batch.requests.drain(..) {
                let head = RequestHead { events, ..RequestHead::default() };
                connection.send_payload_as(id, payload_protocol, payload, &head).unwrap();
            }
            ids
        };
        let taken = send_batch(&mut connection);
        assert_eq!(taken.len(), 2);
        queue.take_back(connection.output());
        let failed = queue.poll_stream(stream, Waker::noop());
        assert!(matches!(
            failed,
            Poll::Ready(
                Ok(StreamItem::Response(Err(FrameClientError::NotReceived)))
                    | Err(FrameClientError::NotReceived)
            )
        ));
        assert!(plain.as_mut().poll(context).is_pending());
        assert_eq!(send_batch(&mut ClientConnection::new()), taken[..1]);
    }
}
