//! The LZ4 frame format (`lz4_Frame_format.md`): one frame, whose blocks are of at most 64 KiB, the format's default.

use super::undecoded::{Undecoded, output_limit, reserve};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::{self, Read, Write};

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

/// Number of bytes decoded at once.
const CHUNK: usize = 64 * 1024;

pub(super) fn encode(payload: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Linked)
        .content_size(Some(payload.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(payload)?;
    encoder.finish()?;
    Ok(())
}

pub(super) fn decode(
    payload: &[u8],
    cap: usize,
    out: &mut Vec<u8>,
    grant: &mut dyn FnMut(usize) -> bool,
) -> Result<(), Undecoded> {
    // One byte above the limit tells that the output exceeds it.
    let most = output_limit(stated_size(payload)?, cap)?.saturating_add(1);
    let mut decoder = FrameDecoder::new(Input { rest: payload, exhausted: false });
    loop {
        let length = out.len();
        let chunk = CHUNK.min(most.saturating_sub(length)).max(1);
        if out.capacity() < length + chunk {
            reserve(out, (2 * length).max(CHUNK).min(most).max(length + chunk), grant)?;
        }
        out.resize(length + chunk, 0);
        let read = decoder.read(&mut out[length..])?;
        out.truncate(length + read);
        if out.len() > cap {
            return Err(Undecoded::TooLarge);
        }
        if read == 0 {
            break;
        }
    }
    // The decoder reads up to the frame's end mark, and beyond it only if that is missing.
    match decoder.into_inner() {
        Input { exhausted: true, .. } => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        Input { rest: [], .. } => Ok(()),
        Input { .. } => Err(Undecoded::Trailing),
    }
}

/// Returns an upper bound of the decoded size, in bytes.
#[cfg(feature = "host")]
pub(super) fn most_decoded(payload: &[u8]) -> Option<usize> {
    match stated_size(payload) {
        Ok(Some(stated)) => usize::try_from(stated).ok(),
        // A byte of a match's length stands for 255 bytes.
        _ => payload.len().checked_mul(255),
    }
}

/// Returns the size of the content, if the frame states it.
fn stated_size(payload: &[u8]) -> io::Result<Option<u64>> {
    let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidData, message));
    let Some((magic, [flags, block_size, rest @ ..])) = payload.split_first_chunk() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    if *magic != MAGIC {
        return invalid("this is not the start of an LZ4 frame");
    }
    // The decoder allocates several blocks of the claimed size.
    if block_size >> 4 & 7 != 4 {
        return invalid("the blocks are of more than 64 KiB");
    }
    if flags & 1 << 3 == 0 {
        return Ok(None);
    }
    match rest.first_chunk() {
        Some(size) => Ok(Some(u64::from_le_bytes(*size))),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// An input that records whether more bytes were requested than there are.
struct Input<'a> {
    rest: &'a [u8],
    exhausted: bool,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(buffer)?;
        self.exhausted |= read < buffer.len();
        Ok(read)
    }
}
