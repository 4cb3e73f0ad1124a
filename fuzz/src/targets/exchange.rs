use crate::script::Script;
use crate::stream::{SERVED, Stream};
use running_process::FrameClient;
use running_process::broker::backend_sdk::{
    ClientConnection, ClientEvent, FrameClientError, RequestHead, RequestId,
};
use running_process::broker::protocol::{Frame, Refusal};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// A client on a socket whose daemon sends a stream and then ends: in whatever order its requests are waited for, it returns what
/// the state machine finds in the stream, and never waits for what cannot come.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let order = script.byte();
    let stream = Stream::read(&mut script).bytes;
    // A daemon that is not read would wait for room in the socket.
    if stream.len() > 100_000 {
        return;
    }
    let expected = Found::by_the_state_machine(&stream);

    let (ours, mut daemons) = UnixStream::pair().expect("a pair of sockets");
    daemons.write_all(&stream).expect("it fits the socket's buffer");
    daemons.shutdown(Shutdown::Write).expect("the other end is open");
    let mut client = FrameClient::from_stream(ours);
    client.keep_events(true);
    let mut requests: Vec<_> =
        (0..REQUESTS).map(|_| client.queue(SERVED, "ping").expect("it is short")).collect();
    assert_eq!(requests, expected.requests);
    requests.rotate_left(usize::from(order) % REQUESTS);
    for request in requests {
        match client.wait(request) {
            Ok(frame) => assert_eq!(expected.responses.get(&request), Some(&Ok(frame))),
            Err(FrameClientError::Refused(refusal)) => {
                assert_eq!(expected.responses.get(&request), Some(&Err(refusal)));
            }
            Err(error) => assert_eq!(expected.responses.get(&request), None, "{error:?}"),
        }
    }
    let mut events = Vec::new();
    while let Some(event) = client.next_event() {
        events.extend(event);
    }
    assert_eq!(events, expected.events);
    assert!(!client.is_usable() && client.queue(SERVED, "late").is_err());
}

const REQUESTS: usize = 4;

#[derive(Default)]
struct Found {
    requests: Vec<RequestId>,
    responses: BTreeMap<RequestId, Result<Frame, Refusal>>,
    events: Vec<Frame>,
}

impl Found {
    fn by_the_state_machine(stream: &[u8]) -> Self {
        let mut connection = ClientConnection::new();
        connection.want_moved();
        let mut found = Self::default();
        for _ in 0..REQUESTS {
            let head = RequestHead::default();
            found.requests.push(connection.send_request_with(SERVED, b"ping", &head).expect("it is short"));
        }
        connection.receive(stream);
        while let Ok(Some(event)) = connection.next_owned_event() {
            match event {
                ClientEvent::Response(request, frame) => {
                    found.responses.insert(request, Ok(frame));
                }
                ClientEvent::Refused(request, refusal) => {
                    found.responses.insert(request, Err(refusal));
                }
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => found.events.push(frame),
                _ => {}
            }
        }
        found
    }
}
