use super::*;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::tokio::sync::into_async;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{Frame, FrameRef, encode_framed, read_frame};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::pin;

/// The driver reads for a caller whose deadline has passed, and what it reads is the answer for which all requests wait.
/// The runtime has not noticed it yet, since it asks the system only between polls of tasks.
#[tokio::test]
async fn requests_are_sent_once_their_question_is_answered_also_if_a_deadline_was_the_reason_to_read() {
    let (socket, mut daemon) = UnixStream::pair().unwrap();
    let queue = Arc::new(RequestQueue::default());
    let mut driver = Driver::new(into_async(socket.into()).unwrap(), Arc::clone(&queue), OnMove::Stay);
    let mut context = Context::from_waker(Waker::noop());
    driver.ask_for_descriptors();
    assert!(driver.poll(&mut context).is_pending());
    let question = read_frame(&mut daemon).unwrap();
    let question = FrameRef::decode(&question).unwrap().to_frame();

    queue.begin_descriptors();
    let request = Request::new(0xF00D, Payload::from("build"), CallDeadline::NONE, None, false);
    let mut response = pin!(queue.submit(request));
    assert!(response.as_mut().poll(&mut context).is_pending());
    assert!(driver.poll(&mut context).is_pending());
    assert_eq!(driver.connection.unwritten(), 0, "it waits for the answer");

    daemon.write_all(&encode_framed(&Frame::response_to(&question, Vec::new())).unwrap()).unwrap();
    let mut barrier = pin!(queue.read_barrier());
    assert!(barrier.as_mut().poll(&mut context).is_pending());
    assert!(driver.poll(&mut context).is_pending());
    daemon.set_nonblocking(true).unwrap();
    let sent = read_frame(&mut daemon).unwrap();
    assert_eq!(FrameRef::decode(&sent).unwrap().payload, b"build");
}

/// A daemon that moves before it takes the first request leaves it to its successor.
#[tokio::test]
async fn a_question_has_another_id_than_a_request_that_was_queued_before_the_callers_sent_descriptors() {
    let (socket, mut daemon) = UnixStream::pair().unwrap();
    let queue = Arc::new(RequestQueue::default());
    let mut driver = Driver::new(into_async(socket.into()).unwrap(), Arc::clone(&queue), OnMove::Stay);
    let mut context = Context::from_waker(Waker::noop());
    let request = Request::new(0xF00D, Payload::from("build"), CallDeadline::NONE, None, false);
    let mut response = pin!(queue.submit(request));
    assert!(response.as_mut().poll(&mut context).is_pending());
    queue.begin_descriptors();
    driver.ask_for_descriptors();
    let mut received = |driver: &mut Driver| {
        assert!(driver.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let received = read_frame(&mut daemon).unwrap();
        let received = FrameRef::decode(&received).unwrap().to_frame();
        daemon.write_all(&encode_framed(&Frame::response_to(&received, Vec::new())).unwrap()).unwrap();
        received
    };
    let question = received(&mut driver);
    assert_eq!(question.payload_protocol, DESCRIPTOR_PROBE);
    // The runtime notices the answer at its next turn.
    tokio::task::yield_now().await;
    let request = received(&mut driver);
    assert_eq!(request.payload, b"build");
    assert_ne!(request.request_id, question.request_id);
    tokio::task::yield_now().await;
    assert!(driver.poll(&mut context).is_pending());
    assert!(matches!(response.as_mut().poll(&mut context), Poll::Ready(Ok(Ok(_)))));
}
