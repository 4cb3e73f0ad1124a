//! Snappy's raw format (`format_description.txt`): the length, then the elements.

use super::undecoded::{Undecoded, output_limit, reserve};
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};
use std::io;

/// Largest ratio of decoded to encoded bytes: a copy of three bytes makes 64.
const MAX_RATIO: usize = 22;

pub(super) fn encode(payload: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.resize(max_compress_len(payload.len()), 0);
    let length = Encoder::new().compress(payload, out)?;
    out.truncate(length);
    Ok(())
}

/// Returns the decoded size in bytes, unless the payload is damaged.
#[cfg(feature = "host")]
pub(super) fn most_decoded(payload: &[u8]) -> Option<usize> {
    decompress_len(payload).ok()
}

pub(super) fn decode(
    payload: &[u8],
    cap: usize,
    out: &mut Vec<u8>,
    grant: &mut dyn FnMut(usize) -> bool,
) -> Result<(), Undecoded> {
    let length = output_limit(Some(decompress_len(payload)? as u64), cap)?;
    if length / MAX_RATIO > payload.len() {
        let message = "the length is more than so few bytes can make";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message).into());
    }
    reserve(out, length, grant)?;
    out.resize(length, 0);
    Decoder::new().decompress(payload, out)?;
    Ok(())
}
