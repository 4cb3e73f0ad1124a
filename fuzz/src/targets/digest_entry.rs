use crate::script::Script;
use running_process::fuzzing::{decode_digest_entry, encode_digest_entry};

/// An entry of the digest cache is read as it was written for its boot and key, and for no other. Other bytes, as of a damaged file,
/// are no entry.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let (boot, key, offset) = (script.u64(), std::array::from_fn(|_| u64::from(script.byte())), script.u64());
    let digests = [[script.byte(); 32], [script.byte(); 32]];
    let Some(entry) = encode_digest_entry(boot, key, offset.cast_signed(), digests) else {
        return assert_eq!(digests, [[0; 32]; 2], "zeros are the absent digest");
    };
    assert_eq!(decode_digest_entry(&entry, boot, key), Some((offset.cast_signed(), digests)));

    let other = std::array::from_fn(|index| key[index] ^ u64::from(script.byte()));
    assert!(decode_digest_entry(&entry, boot, other).is_none() || other == key);
    let later = boot ^ u64::from(script.byte());
    assert!(decode_digest_entry(&entry, later, key).is_none() || later == boot);

    let mut damaged = entry.clone();
    while !script.is_over() {
        let place = script.below(entry.len().min(256));
        damaged[place] ^= script.byte();
    }
    assert!(damaged == entry || decode_digest_entry(&damaged, boot, key).is_none());
    assert!(decode_digest_entry(input, boot, key).is_none() || input == entry);
}
