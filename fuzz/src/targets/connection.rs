use crate::script::Script;
use crate::stream::{Detector, Stream};
use running_process::broker::backend_sdk::{
    BackendEndpointMux, Connection, ConnectionConfig, ConnectionEvent, LegacyClassification, Reclassify,
};
use running_process::broker::protocol::Frame;
use std::sync::Arc;
use std::time::Instant;

/// Asserts that a connection gives the same events and writes the same answers, however a stream is cut. Every byte is an
/// event's, handed over or still held, and nothing follows the end.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let (flags, detector) = (script.byte(), Detector::read(&mut script));
    let mux = Arc::new(detector.mux());
    let mut config = ConnectionConfig::default();
    config.strict = flags & 1 == 0;
    config.reclassify = if flags & 2 == 0 { Reclassify::Never } else { Reclassify::EveryMessage };
    let stream = Stream::read(&mut script);
    let eof = flags & 4 == 0;
    let whole = run_reads(&mux, &config, &[&stream.bytes], eof);
    assert_eq!(whole, run_reads(&mux, &config, &stream.reads(), eof));
}

#[derive(Debug, PartialEq)]
enum Seen {
    Frame(&'static str, Frame),
    Legacy,
    Closed,
    ProbeAnswered,
    Other(String),
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Events, and the number of bytes that each took of the stream.
    events: Vec<(Seen, usize)>,
    over: bool,
    handed_over: Option<Vec<u8>>,
    output: Vec<u8>,
}

fn run_reads<F: Fn(&[u8]) -> LegacyClassification>(
    mux: &Arc<BackendEndpointMux<F>>,
    config: &ConnectionConfig,
    reads: &[&[u8]],
    eof: bool,
) -> Outcome {
    let now = Instant::now();
    let mut connection = Connection::new(mux.clone(), config.clone(), now);
    let (mut outcome, mut received, mut accounted) = (Outcome::default(), Vec::new(), 0);
    for read in reads {
        if let Some(handed_over) = &mut outcome.handed_over {
            handed_over.extend_from_slice(read);
        } else if !outcome.over {
            connection.receive(read, now);
            received.extend_from_slice(read);
            while take(&mut connection, &received, &mut accounted, &mut outcome) {}
        }
    }
    if eof {
        connection.receive_eof();
        while take(&mut connection, &received, &mut accounted, &mut outcome) {}
    }
    outcome.output = connection.output().to_vec();
    outcome
}

/// Takes an event; returns whether there was one.
fn take<F: Fn(&[u8]) -> LegacyClassification>(
    connection: &mut Connection<F>,
    received: &[u8],
    accounted: &mut usize,
    outcome: &mut Outcome,
) -> bool {
    let (before, was_over) = (connection.buffered(), outcome.over);
    let event = match connection.next_event() {
        Ok(None) => return false,
        Ok(Some(ConnectionEvent::Legacy(bytes))) => {
            outcome.over = true;
            assert_eq!(bytes, received[*accounted..]);
            outcome.handed_over = Some(bytes);
            Seen::Legacy
        }
        Ok(Some(ConnectionEvent::Closed)) => {
            outcome.over = true;
            assert_eq!(before, 0);
            Seen::Closed
        }
        Ok(Some(ConnectionEvent::Request(mut request))) => {
            let payload = request.payload();
            request.respond(payload).expect("it came in a frame that was small enough");
            Seen::Frame("request", request.frame.to_frame())
        }
        Ok(Some(ConnectionEvent::Response(frame))) => Seen::Frame("response", frame.to_frame()),
        Ok(Some(ConnectionEvent::Event(frame))) => Seen::Frame("event", frame.to_frame()),
        Ok(Some(ConnectionEvent::Cancel(frame))) => Seen::Frame("cancel", frame.to_frame()),
        Ok(Some(ConnectionEvent::UnknownKind(frame))) => Seen::Frame("unknown", frame.to_frame()),
        Ok(Some(ConnectionEvent::ProbeAnswered)) => Seen::ProbeAnswered,
        Ok(Some(event)) => Seen::Other(format!("{event:?}")),
        Err(error) => {
            outcome.over = true;
            Seen::Other(format!("{error:?}"))
        }
    };
    assert_eq!(connection.is_over(), outcome.over);
    assert!(!was_over, "{event:?} comes after the end");
    let taken = before - connection.buffered();
    *accounted += taken;
    assert_eq!(*accounted + connection.buffered(), received.len());
    outcome.events.push((event, if outcome.handed_over.is_some() { 0 } else { taken }));
    true
}
