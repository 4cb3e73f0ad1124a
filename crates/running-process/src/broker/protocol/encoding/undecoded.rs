//! The parts that the decoders of all encodings share: their error, the bound on their output, and its memory.

use std::io;

/// The reason why a decoder has stopped.
#[allow(dead_code, reason = "the possible reasons depend on the encodings that are compiled in")]
pub(super) enum Undecoded {
    /// The memory for the output was not granted.
    NotGranted,
    /// The payload decodes to more than the cap.
    TooLarge,
    /// Bytes follow the encoded payload.
    Trailing,
    /// The payload is not of the encoding, or is incomplete.
    Damaged(io::Error),
}

impl<E: Into<io::Error>> From<E> for Undecoded {
    fn from(error: E) -> Self {
        Self::Damaged(error.into())
    }
}

/// Returns the most bytes that a payload may decode to: the size that it states, or `cap` if it states none.
///
/// # Errors
///
/// The payload states more than `cap`.
#[cfg(any(feature = "lz4", feature = "snappy", feature = "zstd"))]
pub(super) fn output_limit(stated: Option<u64>, cap: usize) -> Result<usize, Undecoded> {
    match stated {
        None => Ok(cap),
        Some(stated) => usize::try_from(stated).ok().filter(|size| *size <= cap).ok_or(Undecoded::TooLarge),
    }
}

/// Gives `out` a capacity of at least `capacity` bytes, if `grant` allows that many.
pub(super) fn reserve(
    out: &mut Vec<u8>,
    capacity: usize,
    grant: &mut dyn FnMut(usize) -> bool,
) -> Result<(), Undecoded> {
    if capacity <= out.capacity() {
        return Ok(());
    }
    if !grant(capacity) {
        return Err(Undecoded::NotGranted);
    }
    if out.is_empty() {
        // There is nothing to copy, so the old memory goes before the new one comes.
        *out = Vec::new();
    }
    out.reserve_exact(capacity - out.len());
    Ok(())
}
