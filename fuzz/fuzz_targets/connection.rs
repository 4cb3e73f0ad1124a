#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use running_process::broker::backend_sdk::{
    BackendEndpointMux, Connection, ConnectionConfig, ConnectionEvent, LegacyClassification, Reclassify,
};
use running_process_fuzz::Input;
use std::sync::Arc;
use std::time::Instant;

#[derive(Arbitrary, Debug)]
struct Scene {
    input: Input,
    lenient: bool,
    every_message: bool,
    eof: bool,
}

// However a stream is cut, a connection gives the same events and writes the same answers; every byte is an event's,
// handed over or still held; and nothing follows the end.
fuzz_target!(|scene: Scene| {
    let mux = Arc::new(scene.input.mux());
    let stream = scene.input.stream();
    let mut config = ConnectionConfig::default();
    config.strict = !scene.lenient;
    config.reclassify = if scene.every_message { Reclassify::EveryMessage } else { Reclassify::Never };
    let whole = run(&mux, &config, &[&stream], scene.eof);
    let cut = run(&mux, &config, &scene.input.reads(&stream), scene.eof);
    assert_eq!(whole, cut);
});

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Events as text, and what each took of the stream.
    events: Vec<(String, Vec<u8>)>,
    over: bool,
    handed_over: Option<Vec<u8>>,
    output: Vec<u8>,
}

fn run<F: Fn(&[u8]) -> LegacyClassification>(
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
            "legacy".to_owned()
        }
        Ok(Some(ConnectionEvent::Closed)) => {
            outcome.over = true;
            assert_eq!(before, 0);
            "closed".to_owned()
        }
        Ok(Some(ConnectionEvent::Request(mut request))) => {
            let payload = request.payload();
            request.respond(payload).expect("it came in a frame that was small enough");
            format!("{:?}", request.frame)
        }
        Ok(Some(event)) => format!("{event:?}"),
        Err(error) => {
            outcome.over = true;
            format!("{error:?}")
        }
    };
    assert_eq!(connection.is_over(), outcome.over);
    assert!(!was_over, "{event} comes after the end");
    let taken = before - connection.buffered();
    let bytes = if outcome.handed_over.is_some() { &[][..] } else { &received[*accounted..][..taken] };
    outcome.events.push((event, bytes.to_vec()));
    *accounted += taken;
    assert_eq!(*accounted + connection.buffered(), received.len());
    true
}
