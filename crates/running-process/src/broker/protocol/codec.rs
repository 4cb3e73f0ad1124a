//! Frames on buffers and on [`Read`] and [`Write`].

use super::header::{FrameHeader, complete_body};
use super::{FRAME_HEADER_BYTES, Frame, FrameRef, FramingError, MAX_FRAME_BYTES};
use std::io::{self, IoSlice, Read, Write};

/// A frame from the start of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedFramed {
    /// The frame.
    pub frame: Frame,
    /// How many bytes of the buffer it took, header included; `consumed <= buffer.len()`.
    pub consumed: usize,
}

/// A frame that lies at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedFramedRef<'a> {
    /// The frame.
    pub frame: FrameRef<'a>,
    /// How many bytes of the buffer it takes, header included; `consumed <= buffer.len()`.
    pub consumed: usize,
}

/// Header and body of `frame`, in one allocation.
///
/// # Errors
///
/// [`FramingError::FrameTooLarge`] if the body is above [`MAX_FRAME_BYTES`].
pub fn encode_framed(frame: &Frame) -> Result<Vec<u8>, FramingError> {
    let mut out = Vec::new();
    frame.borrowed().encode_framed(&mut out)?;
    Ok(out)
}

/// The frame at the start of `bytes`, or `None` while it is incomplete.
///
/// # Errors
///
/// The first byte is not the framing version, the announced body is above [`MAX_FRAME_BYTES`], or the complete body
/// is not a `Frame`.
pub fn try_decode_framed(bytes: &[u8]) -> Result<Option<DecodedFramed>, FramingError> {
    Ok(try_decode_framed_ref(bytes)?
        .map(|DecodedFramedRef { frame, consumed }| DecodedFramed { frame: frame.to_frame(), consumed }))
}

/// [`try_decode_framed`] without copying: the frame borrows from `bytes`.
///
/// # Errors
///
/// As [`try_decode_framed`].
#[inline]
pub fn try_decode_framed_ref(bytes: &[u8]) -> Result<Option<DecodedFramedRef<'_>>, FramingError> {
    let Some(body) = complete_body(bytes, MAX_FRAME_BYTES)? else { return Ok(None) };
    Ok(Some(DecodedFramedRef { frame: FrameRef::decode(body)?, consumed: FRAME_HEADER_BYTES + body.len() }))
}

/// Reads the body of one frame of at most [`MAX_FRAME_BYTES`].
///
/// # Errors
///
/// As [`read_frame_with_cap`].
pub fn read_frame<R: Read>(reader: &mut R) -> Result<Vec<u8>, FramingError> {
    read_frame_with_cap(reader, MAX_FRAME_BYTES)
}

/// Reads the body of one frame, at most `cap` bytes. Memory follows the bytes received, not the length announced.
///
/// # Errors
///
/// The stream fails or ends, its first byte is not the framing version, or the announced body is above `cap`.
pub fn read_frame_with_cap<R: Read>(reader: &mut R, cap: usize) -> Result<Vec<u8>, FramingError> {
    let mut header = [0; FRAME_HEADER_BYTES];
    // A foreign first byte is told without waiting for four more.
    read_exact(reader, &mut header[..1], "framing byte")?;
    FrameHeader::parse(&header[..1], cap)?;
    read_exact(reader, &mut header[1..], "body length header")?;
    let Some(header) = FrameHeader::parse(&header, cap)? else {
        return Err(FramingError::UnexpectedEof { context: "body length header" });
    };
    let mut body = Vec::new();
    reader.take(header.body_length() as u64).read_to_end(&mut body)?;
    if body.len() < header.body_length() {
        return Err(FramingError::UnexpectedEof { context: "frame body" });
    }
    Ok(body)
}

/// Writes `body` behind its header, flushes, and returns how many bytes that made.
///
/// Header and body go out in one vectored write where the writer takes them both; the body is not copied.
///
/// # Errors
///
/// The body is above [`MAX_FRAME_BYTES`], in which case nothing was written, or the stream fails.
pub fn write_frame<W: Write>(writer: &mut W, body: &[u8]) -> Result<usize, FramingError> {
    let header = FrameHeader::for_body(body.len(), MAX_FRAME_BYTES)?;
    let header_bytes = header.to_bytes();
    let written = loop {
        match writer.write_vectored(&[IoSlice::new(&header_bytes), IoSlice::new(body)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => break written?,
        }
    };
    if written == 0 {
        return Err(FramingError::Io(io::ErrorKind::WriteZero.into()));
    }
    if let Some(rest) = header_bytes.get(written..) {
        writer.write_all(rest)?;
    }
    writer.write_all(&body[written.saturating_sub(FRAME_HEADER_BYTES)..])?;
    writer.flush()?;
    Ok(header.frame_length())
}

fn read_exact(reader: &mut impl Read, buffer: &mut [u8], context: &'static str) -> Result<(), FramingError> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FramingError::UnexpectedEof { context },
        _ => FramingError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most `limit` bytes a call.
    struct Dripping {
        taken: Vec<u8>,
        limit: usize,
    }

    impl Write for Dripping {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.limit);
            self.taken.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_body_survives_a_writer_that_takes_little_at_a_time() {
        for limit in 1..12 {
            let mut writer = Dripping { taken: Vec::new(), limit };
            assert_eq!(write_frame(&mut writer, b"payload").unwrap(), 12);
            assert_eq!(read_frame(&mut &writer.taken[..]).unwrap(), b"payload");
        }
    }

    #[test]
    fn a_stream_that_ends_says_where() {
        let wire = [1, 3, 0, 0, 0, b'a', b'b', b'c'];
        for (length, place) in [(0, "framing byte"), (3, "body length header"), (7, "frame body")] {
            let error = read_frame(&mut &wire[..length]).unwrap_err();
            assert_eq!(error.to_string(), format!("the stream ended in {place}"));
        }
    }

    #[test]
    fn a_length_above_the_cap_is_refused_before_the_body_is_read() {
        let mut wire = &[1, 17, 0, 0, 0, 9][..];
        let error = read_frame_with_cap(&mut wire, 16).unwrap_err();
        assert!(matches!(error, FramingError::FrameTooLarge { body_length: 17, cap: 16 }));
        assert_eq!(wire, [9]);
    }

    #[test]
    fn a_body_above_the_cap_is_not_written() {
        let mut writer = Dripping { taken: Vec::new(), limit: usize::MAX };
        assert!(write_frame(&mut writer, &vec![0; MAX_FRAME_BYTES + 1]).is_err());
        assert!(writer.taken.is_empty());
    }
}
