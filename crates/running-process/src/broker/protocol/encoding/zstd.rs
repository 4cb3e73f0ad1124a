//! Zstandard (RFC 8878): one frame.

use super::undecoded::{Undecoded, output_limit, reserve};
use std::io;
use zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall;

/// The fastest of the ordinary levels: encoding saves only a copy on one machine.
const LEVEL: i32 = 1;

/// Size of the first output buffer in bytes, beyond a multiple of the input.
const FIRST_OUTPUT: usize = 64 * 1024;

pub(super) fn encode(payload: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.reserve(zstd_safe::compress_bound(payload.len()));
    zstd_safe::compress(out, payload, LEVEL).map(drop).map_err(reason)
}

/// Decodes in one call, so that the output is its own window. Tries again with twice the capacity while that is too
/// little, so no memory is taken for a size or a window that is only claimed.
pub(super) fn decode(
    payload: &[u8],
    cap: usize,
    out: &mut Vec<u8>,
    grant: &mut dyn FnMut(usize) -> bool,
) -> Result<(), Undecoded> {
    if zstd_safe::find_frame_compressed_size(payload).map_err(reason)? < payload.len() {
        return Err(Undecoded::Trailing);
    }
    let stated = zstd_safe::get_frame_content_size(payload).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "the frame states no size that is possible")
    })?;
    let most = output_limit(stated, cap)?;
    let mut room = (FIRST_OUTPUT + 16 * payload.len()).min(most);
    loop {
        out.clear();
        reserve(out, room.max(1), grant)?;
        match zstd_safe::decompress(out, payload) {
            Ok(_) if out.len() > cap => return Err(Undecoded::TooLarge),
            Ok(_) => return Ok(()),
            Err(code) if !zstd_safe::is_error_kind(code, ZSTD_error_dstSize_tooSmall) => {
                return Err(reason(code).into());
            }
            Err(_) if room >= cap => return Err(Undecoded::TooLarge),
            Err(code) if room >= most => return Err(reason(code).into()),
            Err(_) => room = (2 * room).min(most),
        }
    }
}

/// Returns the decoded size in bytes, if the frame states it.
#[cfg(feature = "host")]
pub(super) fn most_decoded(payload: &[u8]) -> Option<usize> {
    zstd_safe::get_frame_content_size(payload).ok().flatten().and_then(|stated| usize::try_from(stated).ok())
}

fn reason(code: zstd_safe::ErrorCode) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, zstd_safe::get_error_name(code))
}
