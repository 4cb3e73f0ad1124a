//! `decode`: explains a captured stream of frames byte by byte.

mod window;

use crate::cli::DecodeArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;
use crate::wire::{AnnotatedFrame, Layout, Palette, Totals, Wanted, annotate_frame, json, render, wanted};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use window::Window;

/// Largest number of bytes read behind the last frame. An endless stream exceeds it.
const MAX_REST_BYTES: usize = 64 * 1024 * 1024;

const LAYOUT: Layout = Layout {
    palette: Palette::coloured(),
    // Eight bytes and their annotations fit a terminal of 80 columns.
    bytes_per_line: 8,
};

pub(super) fn run(arguments: &DecodeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    match arguments.file.as_deref() {
        Some(path) if path != Path::new("-") => {
            let unreadable =
                |error| unreadable(error, format!("the capture {} cannot be read", path.display()));
            let file = File::open(path).map_err(unreadable)?;
            decode(file, output, unreadable)
        }
        _ => decode(io::stdin().lock(), output, |error| {
            unreadable(error, "the capture cannot be read from standard input".to_owned())
        }),
    }
}

fn unreadable(error: io::Error, context: String) -> Failure {
    Failure::undecided(error)
        .kind("capture_unreadable")
        .context(context)
        .hint("name a file with the raw bytes that one side has sent")
}

/// Explains each frame when it arrives, and keeps only the current one in memory.
fn decode(
    capture: impl Read,
    output: &mut Output,
    unreadable: impl Fn(io::Error) -> Failure,
) -> Result<Verdict, Failure> {
    let mut window = Window::new(capture);
    let mut totals = Totals::default();
    loop {
        let wanted = wanted(window.bytes());
        let (Wanted::Frame(length) | Wanted::Rest(length)) = wanted;
        while window.bytes().len() < length && !window.is_at_end() {
            // The read may block, so the output is flushed first.
            output.flush()?;
            window.read(length).map_err(&unreadable)?;
        }
        // The new bytes may complete a header, whose frame needs more.
        if wanted != self::wanted(window.bytes()) && !window.is_at_end() {
            continue;
        }
        if window.bytes().is_empty() {
            break;
        }
        let behind = match wanted {
            Wanted::Frame(_) => 0,
            Wanted::Rest(_) => behind(&mut window, length).map_err(&unreadable)?.ok_or_else(endless)?,
        };
        let bytes = window.bytes();
        let frame = annotate_frame(bytes, totals.length, bytes.len() + behind);
        show(totals.frames, &frame, output)?;
        totals.add(&frame);
        let consumed = frame.bytes.len();
        window.consume(consumed);
        if matches!(wanted, Wanted::Rest(_)) {
            break;
        }
    }
    output.part(render::verdict(totals, LAYOUT.palette))?;
    output.partial_object(json::end(totals))?;
    output.flush()?;
    Ok(if totals.is_accepted() { Verdict::Yes } else { Verdict::No })
}

/// Reads to the end of the capture and returns the number of bytes that the window does not keep.
///
/// Returns `None` if the bytes exceed the limit.
fn behind<R: Read>(window: &mut Window<R>, kept: usize) -> io::Result<Option<usize>> {
    let mut behind = window.truncate(kept);
    while let length @ 1.. = window.skip()? {
        behind += length;
        if kept + behind > MAX_REST_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(behind))
}

fn endless() -> Failure {
    Failure::undecided(format!("the part of the capture that is no frame exceeds {MAX_REST_BYTES} bytes"))
        .kind("capture_endless")
        .hint("cut the capture where the frames end, for example with head -c")
}

fn show(index: usize, frame: &AnnotatedFrame<'_>, output: &mut Output) -> Result<(), Failure> {
    if output.is_closed() {
        // Only the verdict remains to be found.
        return Ok(());
    }
    if output.is_json() {
        output.partial_object(json::frame(index, frame))
    } else {
        output.part(render::frame(index, frame, LAYOUT))
    }
}
