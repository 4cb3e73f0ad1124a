//! Frames that come while requests wait to be written: the blocking client alone, which reads and writes in its calls. On Windows it reads
//! nothing while it writes.

use super::peer::{event, event_of, run, scripted};
use crate::support::{SHOUT, join, next};
use running_process::broker::backend_sdk::{FrameClient, FrameClientError};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn frames_that_came_before_the_end_are_returned_before_it_although_a_request_waits_to_be_written() {
    let (mut client, peer) = scripted::<FrameClient>(|mut peer| {
        let request = peer.receive();
        peer.send(&event(0));
        peer.send(&event_of(&request, b"1".to_vec()));
        peer.answer(&request);
    });
    client.keep_events(true);
    let mut stream = client.request_streaming(SHOUT, b"streamed").unwrap();
    join(peer);
    stream.client().queue(SHOUT, b"never received").unwrap();
    assert_eq!(stream.next_event().unwrap().unwrap().payload, b"1");
    assert_eq!(stream.next_event().unwrap(), None);
    assert_eq!(stream.response().unwrap().payload, b"STREAMED");
    assert_eq!(client.next_event().unwrap().unwrap().payload, b"0");

    let (mut client, peer) = scripted::<FrameClient>(|mut peer| {
        peer.send(&event(0));
        peer.receive();
    });
    client.send(SHOUT, b"received").unwrap();
    join(peer);
    client.queue(SHOUT, b"never received").unwrap();
    client.keep_events(true);
    assert_eq!(client.next_event().unwrap().unwrap().payload, b"0");
    assert!(matches!(client.next_event(), Some(Err(FrameClientError::Closed))));
    assert!(client.next_event().is_none());
}

#[test]
fn frames_that_have_come_are_returned_although_the_daemon_reads_no_more_requests() {
    let ((ask, asked), (tell, told)) = (mpsc::channel(), mpsc::channel());
    let (finished, end) = mpsc::channel();
    run::<FrameClient>(
        move |mut peer| {
            let requests = [peer.receive(), peer.receive()];
            next::<()>(&asked);
            peer.send(&event(0));
            peer.send(&event_of(&requests[1], b"1".to_vec()));
            for request in &requests {
                peer.answer(request);
            }
            tell.send(()).unwrap();
            next::<()>(&end);
        },
        move |mut client| {
            client.keep_events(true);
            let other = client.send(SHOUT, b"other").unwrap();
            let mut stream = client.request_streaming(SHOUT, b"streamed").unwrap();
            stream.client().set_timeout(Some(Duration::from_millis(50)));
            while stream.client().queue(SHOUT, vec![b'a'; 60_000]).is_ok() && stream.client().flush().is_ok()
            {
            }
            ask.send(()).unwrap();
            next(&told);
            // No call times out.
            stream.client().set_timeout(None);
            assert_eq!(stream.client().next_event().unwrap().unwrap().payload, b"0");
            assert_eq!(stream.next_event().unwrap().unwrap().payload, b"1");
            assert_eq!(stream.next_event().unwrap(), None);
            assert_eq!(stream.response().unwrap().payload, b"STREAMED");
            assert_eq!(client.wait(other).unwrap().payload, b"OTHER");
            finished.send(()).unwrap();
        },
    );
}
