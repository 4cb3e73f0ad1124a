#![no_main]

use libfuzzer_sys::fuzz_target;
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification, MuxPoll};
use running_process_fuzz::Input;

// However a stream is cut, the same answers come, they consume what they say, and what they consume and what is left
// is the stream.
fuzz_target!(|input: Input| {
    let mux = input.mux();
    let stream = input.stream();
    let whole = answers(&mux, &[&stream]);
    let cut = answers(&mux, &input.reads(&stream));
    assert_eq!(whole, cut);
    assert_eq!([whole.consumed, whole.left].concat(), stream);
});

#[derive(Debug, PartialEq)]
struct Answers {
    answers: Vec<Result<MuxPoll, String>>,
    consumed: Vec<u8>,
    left: Vec<u8>,
}

fn answers<F: Fn(&[u8]) -> LegacyClassification>(mux: &BackendEndpointMux<F>, reads: &[&[u8]]) -> Answers {
    let (mut answers, mut eaten, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    for read in reads {
        buffer.extend_from_slice(read);
        while !matches!(answers.last(), Some(Err(_) | Ok(MuxPoll::Legacy))) {
            let answer = mux.poll(&buffer).map_err(|error| format!("{error:?}"));
            let consumed = match &answer {
                Ok(MuxPoll::NeedMoreBytes) => break,
                Ok(MuxPoll::Payload { consumed, .. } | MuxPoll::ProbeAnswered { consumed, .. }) => *consumed,
                Ok(MuxPoll::Legacy) | Err(_) => 0,
            };
            if consumed > 0 {
                let length = u32::from_le_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]);
                assert_eq!((buffer[0], consumed), (1, 5 + length as usize));
            }
            eaten.extend(buffer.drain(..consumed));
            answers.push(answer);
        }
    }
    Answers { answers, consumed: eaten, left: buffer }
}
