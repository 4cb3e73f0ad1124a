#![no_main]

use libfuzzer_sys::fuzz_target;
use running_process::broker::backend_sdk::{ClientConnection, ClientEvent, RequestHead};
use running_process::broker::protocol::Frame;
use running_process_fuzz::{Input, SERVED};

// However a stream is cut, a client sees the same events, borrowed or owned, the same error, and the same end.
fuzz_target!(|input: Input| {
    let stream = input.stream();
    let reads = input.reads(&stream);
    let whole = outcome(&[&stream], borrowed);
    assert_eq!(whole, outcome(&reads, borrowed));
    assert_eq!(whole, outcome(&reads, owned));
});

type Next = Result<Option<ClientEvent<Frame>>, String>;

fn borrowed(client: &mut ClientConnection) -> Next {
    let event = client.next_event().map_err(|error| format!("{error:?}"))?;
    Ok(event.map(|event| match event {
        ClientEvent::Response(request, frame) => ClientEvent::Response(request, frame.to_frame()),
        ClientEvent::Refused(request, refusal) => ClientEvent::Refused(request, refusal),
        ClientEvent::RequestEvent(request, frame) => ClientEvent::RequestEvent(request, frame.to_frame()),
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
}

fn outcome(reads: &[&[u8]], next: impl Fn(&mut ClientConnection) -> Next) -> Outcome {
    let mut client = ClientConnection::new();
    for events in [false, true, false, true] {
        let mut head = RequestHead::default();
        head.events = events;
        client.send_request_with(SERVED, b"ping", &head).expect("it is small");
    }
    let mut outcome = Outcome::default();
    for read in reads {
        client.receive(read);
        loop {
            match next(&mut client) {
                Ok(Some(event)) => outcome.events.push(event),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(next(&mut client), Ok(None));
                    return Outcome { end: error, ..outcome };
                }
            }
        }
    }
    outcome.end = format!("{:?}", client.receive_eof());
    outcome
}
