use crate::script::Script;
use crate::stream::{SERVED, Stream};
use running_process::broker::backend_sdk::{ClientConnection, ClientEvent, RequestHead};
use running_process::broker::protocol::Frame;

/// Asserts that a client sees the same events, borrowed or owned, the same error and the same end, however a stream is cut.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let flags = script.byte();
    let stream = Stream::read(&mut script);
    let reads = stream.reads();
    let whole = outcome(flags, &[&stream.bytes], borrowed);
    assert_eq!(whole, outcome(flags, &reads, borrowed));
    assert_eq!(whole, outcome(flags, &reads, owned));
}

type Next = Result<Option<ClientEvent<Frame>>, String>;

fn borrowed(client: &mut ClientConnection) -> Next {
    let event = client.next_event().map_err(|error| format!("{error:?}"))?;
    Ok(event.map(|event| match event {
        ClientEvent::Response(request, frame) => ClientEvent::Response(request, frame.to_frame()),
        ClientEvent::Refused(request, refusal) => ClientEvent::Refused(request, refusal),
        ClientEvent::RequestEvent(request, frame) => ClientEvent::RequestEvent(request, frame.to_frame()),
        ClientEvent::Moved => ClientEvent::Moved,
        ClientEvent::Event(frame) => ClientEvent::Event(frame.to_frame()),
        ClientEvent::Other(frame) => ClientEvent::Other(frame.to_frame()),
        _ => unreachable!("the client has no other events"),
    }))
}

fn owned(client: &mut ClientConnection) -> Next {
    client.next_owned_event().map_err(|error| format!("{error:?}"))
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    events: Vec<ClientEvent<Frame>>,
    /// The error that ended the connection, or how its end would be taken.
    end: String,
    /// The number of bytes of events that were not wanted is not told; their number is.
    skipped: u64,
}

fn outcome(flags: u8, reads: &[&[u8]], next: impl Fn(&mut ClientConnection) -> Next) -> Outcome {
    let mut client = ClientConnection::new();
    if flags & 1 == 1 {
        client.want_moved();
    }
    client.set_unsolicited_events(flags & 2 == 0);
    let mut requests = Vec::new();
    for events in [false, true, false, true, true] {
        let mut head = RequestHead::default();
        head.events = events;
        requests.push(client.send_request_with(SERVED, b"ping", &head).expect("it is small"));
    }
    client.cancel(requests[3]);
    client.drop_events(requests[4]);
    let mut outcome = Outcome::default();
    for read in reads {
        client.receive(read);
        loop {
            match next(&mut client) {
                Ok(Some(event)) => {
                    if let ClientEvent::Response(request, _) | ClientEvent::Refused(request, _) = &event {
                        assert!(requests.contains(request) && !client.is_pending(*request));
                        requests.retain(|other| other != request);
                    }
                    outcome.events.push(event);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(next(&mut client), Ok(None));
                    return Outcome { end: error, skipped: client.skipped_events(), ..outcome };
                }
            }
        }
    }
    outcome.end = format!("{:?}", client.receive_eof());
    outcome.skipped = client.skipped_events();
    outcome
}
