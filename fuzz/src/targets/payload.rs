use crate::script::Script;
use running_process::broker::protocol::{Encodings, decode_payload, encode_payload};

/// Asserts that no decoder yields more than the cap, or takes memory for more than came and was decoded. What was decoded is encoded
/// and decoded to the same.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let (which, cap) = (script.below(4), script.u32() as usize % (4 << 20));
    let payload = script.rest();
    // One for most inputs, so that what one decoder learns is not undone by another.
    for encoding in Encodings::SUPPORTED.iter().filter(|encoding| which == 0 || *encoding as usize == which) {
        let mut decoded = Vec::new();
        let result = decode_payload(encoding, payload, cap, &mut decoded);
        assert!(decoded.capacity() <= 2 * cap + 64 * payload.len() + (256 << 10));
        if result.is_ok() {
            assert!(decoded.len() <= cap);
            let (mut encoded, mut again) = (Vec::new(), Vec::new());
            encode_payload(encoding, &decoded, &mut encoded).expect("it is no longer than a frame");
            decode_payload(encoding, &encoded, cap, &mut again).expect("it was encoded just now");
            assert_eq!(again, decoded);
        }
    }
}
