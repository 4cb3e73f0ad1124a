//! Frames on buffers and on [`Read`] and [`Write`].

use super::error::FramingError;
use super::frame::FrameRef;
use super::generated::Frame;
use super::header::{FRAME_HEADER_BYTES, FrameHeader, MAX_FRAME_BYTES, complete_body};
use std::io::{self, IoSlice, Read, Write};

/// A frame from the start of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedFramed {
    /// The frame.
    pub frame: Frame,
    /// Number of bytes of the buffer that the frame took, header included; `consumed <= buffer.len()`.
    pub consumed: usize,
}

/// A frame at the start of a buffer, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedFramedRef<'a> {
    /// The frame.
    pub frame: FrameRef<'a>,
    /// Number of bytes of the buffer that the frame takes, header included; `consumed <= buffer.len()`.
    pub consumed: usize,
}

/// Returns header and body of `frame`, in one allocation.
///
/// # Errors
///
/// [`FramingError::FrameTooLarge`] if the body is above [`MAX_FRAME_BYTES`].
pub fn encode_framed(frame: &Frame) -> Result<Vec<u8>, FramingError> {
    frame.borrowed().framed_with_payload(&[&frame.payload])
}

/// Decodes the frame at the start of `bytes`; returns `None` while it is incomplete.
///
/// # Errors
///
/// The first byte is not the framing version, the announced body is above [`MAX_FRAME_BYTES`], or the complete body
/// is not a `Frame`.
pub fn try_decode_framed(bytes: &[u8]) -> Result<Option<DecodedFramed>, FramingError> {
    Ok(try_decode_framed_ref(bytes)?
        .map(|DecodedFramedRef { frame, consumed }| DecodedFramed { frame: frame.to_frame(), consumed }))
}

/// Decodes as [`try_decode_framed`] does, without copying: the frame borrows from `bytes`.
///
/// # Errors
///
/// As [`try_decode_framed`].
#[inline(always)]
#[allow(clippy::inline_always, reason = "a frame passes through registers, or once more through memory")]
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
    // A wrong first byte is an error before four more have arrived.
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

/// Writes a header and `body`, flushes, and returns the number of bytes written.
///
/// Header and body go out in one vectored write if the writer takes them both; the body is not copied.
///
/// # Errors
///
/// The body is above [`MAX_FRAME_BYTES`], in which case nothing was written, or the stream fails.
pub fn write_frame<W: Write>(writer: &mut W, body: &[u8]) -> Result<usize, FramingError> {
    let header = FrameHeader::for_body(body.len(), MAX_FRAME_BYTES)?;
    write_pieces(writer, [&header.to_bytes(), body])
}

/// Writes a header and `frame`, flushes, and returns the number of bytes written.
///
/// They go out in one vectored write if the writer takes it all; the payload is not copied. For a small payload,
/// [`FrameRef::encode_framed`] into a buffer that is reused is cheaper.
///
/// # Errors
///
/// The body is above [`MAX_FRAME_BYTES`], in which case nothing was written, or the stream fails.
pub fn write_framed<W: Write>(writer: &mut W, frame: &FrameRef<'_>) -> Result<usize, FramingError> {
    let mut around = Vec::new();
    let at = frame.encode_around_payload(&mut around)?;
    let (before, behind) = around.split_at(at);
    write_pieces(writer, [before, frame.payload, behind])
}

/// Writes all `pieces`, of which the first is not empty, and flushes.
fn write_pieces<const PIECES: usize>(
    writer: &mut impl Write,
    pieces: [&[u8]; PIECES],
) -> Result<usize, FramingError> {
    let mut slices = pieces.map(IoSlice::new);
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match writer.write_vectored(rest) {
            Ok(0) => return Err(FramingError::Io(io::ErrorKind::WriteZero.into())),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FramingError::Io(error)),
        }
    }
    writer.flush()?;
    Ok(pieces.iter().map(|piece| piece.len()).sum())
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

    /// A writer that takes at most `limit` bytes per call.
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
    fn a_frame_survives_a_writer_that_takes_little_at_a_time() {
        let with_payload = FrameRef { tracestate: "state", ..FrameRef::request(0xF00D, 1, b"payload") };
        for frame in [with_payload, FrameRef { payload: b"", ..with_payload }, FrameRef::default()] {
            let mut expected = Vec::new();
            frame.encode_framed(&mut expected).unwrap();
            for limit in 1..=expected.len() {
                let mut writer = Dripping { taken: Vec::new(), limit };
                assert_eq!(write_framed(&mut writer, &frame).unwrap(), expected.len());
                assert_eq!(writer.taken, expected);
            }
        }
    }

    /// A writer that takes everything, and records the address and the length of each piece.
    #[derive(Default)]
    struct Vectored {
        writes: Vec<Vec<(*const u8, usize)>>,
    }

    impl Write for Vectored {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writes.push(pieces.iter().map(|piece| (piece.as_ptr(), piece.len())).collect());
            Ok(pieces.iter().map(|piece| piece.len()).sum())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_payload_is_written_from_where_it_lies_in_a_single_write() {
        let payload = vec![7; 1 << 20];
        let mut writer = Vectored::default();
        write_framed(&mut writer, &FrameRef::request(0xF00D, 1, &payload)).unwrap();
        write_frame(&mut writer, &payload).unwrap();
        let [framed, body] = &writer.writes[..] else { panic!("{:?}", writer.writes) };
        assert_eq!(framed[1], (payload.as_ptr(), payload.len()));
        assert_eq!(body[1], (payload.as_ptr(), payload.len()));
    }

    /// A writer that fails with each of these kinds, and takes everything then.
    struct Failing {
        kinds: Vec<io::ErrorKind>,
        taken: Vec<u8>,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.kinds.pop() {
                Some(kind) => Err(kind.into()),
                None => self.taken.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_that_is_interrupted_goes_on_and_any_other_failure_ends_it() {
        let mut writer = Failing { kinds: vec![io::ErrorKind::Interrupted; 2], taken: Vec::new() };
        assert_eq!(write_frame(&mut writer, b"payload").unwrap(), 12);
        assert_eq!(read_frame(&mut &writer.taken[..]).unwrap(), b"payload");
        let mut writer = Failing { kinds: vec![io::ErrorKind::BrokenPipe], taken: Vec::new() };
        let error = write_frame(&mut writer, b"payload").unwrap_err();
        assert!(matches!(error, FramingError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe));
        assert!(writer.taken.is_empty());
    }

    #[test]
    fn a_writer_that_takes_nothing_is_an_error() {
        let error = write_framed(&mut &mut [][..], &FrameRef::default()).unwrap_err();
        assert!(matches!(error, FramingError::Io(error) if error.kind() == io::ErrorKind::WriteZero));
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
        let large = vec![0; MAX_FRAME_BYTES + 1];
        assert!(write_frame(&mut writer, &large).is_err());
        assert!(write_framed(&mut writer, &FrameRef { payload: &large, ..FrameRef::default() }).is_err());
        assert!(writer.taken.is_empty());
    }
}
