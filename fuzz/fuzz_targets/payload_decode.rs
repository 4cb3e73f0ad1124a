#![no_main]

use libfuzzer_sys::fuzz_target;
use running_process::broker::protocol::{Encodings, decode_payload, encode_payload};

// Whatever the bytes, no decoder yields more than the cap, or takes memory for more than came and was decoded; what was
// decoded is encoded and decoded to the same.
fuzz_target!(|input: (u32, &[u8])| {
    let (cap, payload) = (input.0 as usize % (4 << 20), input.1);
    for encoding in Encodings::SUPPORTED.iter() {
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
});
