use crate::script::Script;
use crate::stream::{Detector, Stream};
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification, MuxPoll};

/// Asserts that the same answers come however a stream is cut, and that each consumes its frame.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mux = Detector::read(&mut script).mux();
    let stream = Stream::read(&mut script);
    let whole = answers(&mux, &[&stream.bytes]);
    assert_eq!(whole, answers(&mux, &stream.reads()));
}

#[derive(Debug, Default, PartialEq)]
struct Answers {
    answers: Vec<MuxPoll>,
    error: Option<String>,
    consumed: usize,
}

fn answers<F: Fn(&[u8]) -> LegacyClassification>(mux: &BackendEndpointMux<F>, reads: &[&[u8]]) -> Answers {
    let (mut found, mut received) = (Answers::default(), Vec::new());
    for read in reads {
        received.extend_from_slice(read);
        while found.error.is_none() && found.answers.last() != Some(&MuxPoll::Legacy) {
            let buffer = &received[found.consumed..];
            match mux.poll(buffer) {
                Ok(MuxPoll::NeedMoreBytes) => break,
                Ok(answer) => {
                    if let MuxPoll::Payload { consumed, .. } | MuxPoll::ProbeAnswered { consumed, .. } =
                        &answer
                    {
                        let length = u32::from_le_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]);
                        assert_eq!((buffer[0], *consumed), (1, 5 + length as usize));
                        found.consumed += consumed;
                        assert!(found.consumed <= received.len());
                    }
                    found.answers.push(answer);
                }
                Err(error) => found.error = Some(format!("{error:?}")),
            }
        }
    }
    found
}
