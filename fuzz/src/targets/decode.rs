use crate::script::Script;
use crate::stream::Stream;
use crate::window::Window;
use crate::wire::{
    AnnotatedFrame, Layout, Palette, Totals, Wanted, annotate, annotate_frame, json, render, summarize,
    wanted,
};
use running_process::broker::protocol::try_decode_framed;
use std::fmt::Write as _;
use std::io::{self, Read};

/// The spans of a capture cover every byte once, frames are accepted as by the library, every problem is shown, and a capture that
/// is read in pieces is explained as a whole one.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let is_raw = script.flag();
    let built;
    let (capture, reads) = if is_raw {
        let cuts = script.bytes();
        let bytes = script.rest();
        (bytes, crate::stream::cut(bytes, cuts))
    } else {
        built = Stream::read(&mut script);
        (&built.bytes[..], built.reads())
    };
    let frames = annotate(capture);
    let mut end = 0;
    for frame in &frames {
        assert_eq!(frame.offset, end);
        end = check(frame, &capture[frame.offset..]);
    }
    assert_eq!(end, capture.len());
    assert_eq!(in_pieces(Reads(reads)), frames.iter().map(text).collect::<Vec<_>>());
    let _summary = summarize(capture);
}

/// Checks a frame at the start of `rest`, and returns the offset of its end.
fn check(frame: &AnnotatedFrame<'_>, rest: &[u8]) -> usize {
    let mut end = 0;
    for span in &frame.spans {
        assert_eq!(span.offset, end, "{span:?}");
        assert!(span.length > 0, "{span:?}");
        end = span.end();
    }
    assert_eq!(end, frame.length);
    let decoded = try_decode_framed(rest);
    assert_eq!(frame.is_accepted(), matches!(decoded, Ok(Some(_))), "{decoded:?}");
    if let Ok(Some(decoded)) = decoded {
        assert_eq!(frame.length, decoded.consumed);
        assert_eq!(frame.frame.map(|frame| frame.to_frame()), Some(decoded.frame));
    }
    for problem in &frame.problems {
        assert!(problem.at.end <= frame.length, "{problem:?}");
        assert_ne!(problem.reason.code(), "undecodable", "{problem:?}");
    }
    let shown = text(frame);
    assert_eq!(shown.matches("  help: ").count(), frame.problems.len(), "{shown}");
    assert!(serde_json::to_string(&json::frame(0, frame)).is_ok());
    let mut totals = Totals::default();
    totals.add(frame);
    assert_eq!(totals.is_accepted(), frame.is_accepted());
    frame.end()
}

fn text(frame: &AnnotatedFrame<'_>) -> String {
    let layout = Layout { palette: Palette::default(), bytes_per_line: 8 };
    let mut text = String::new();
    write!(text, "{}", render::frame(0, frame, layout)).expect("a string takes any text");
    text
}

/// Explains a capture as the command does, which keeps the current frame only. An input is shorter than the longest frame, so what is
/// no frame ends with it.
fn in_pieces(capture: impl Read) -> Vec<String> {
    let (mut window, mut texts, mut offset) = (Window::new(capture), Vec::new(), 0);
    loop {
        let needed = wanted(window.bytes());
        let (Wanted::Frame(length) | Wanted::Rest(length)) = needed;
        while window.bytes().len() < length && !window.is_at_end() {
            window.read(length).expect("slices are read");
        }
        if needed != wanted(window.bytes()) && !window.is_at_end() {
            continue;
        }
        if window.bytes().is_empty() {
            return texts;
        }
        let frame = annotate_frame(window.bytes(), offset, window.bytes().len());
        texts.push(text(&frame));
        offset = frame.end();
        let consumed = frame.bytes.len();
        window.consume(consumed);
    }
}

/// Slices one after the other, as a reader.
struct Reads<'a>(Vec<&'a [u8]>);

impl Read for Reads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.retain(|piece| !piece.is_empty());
        self.0.first_mut().map_or(Ok(0), |piece| piece.read(buffer))
    }
}
