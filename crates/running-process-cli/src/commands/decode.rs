//! `decode`: a captured stream of frames, byte by byte.

use crate::cli::DecodeArgs;
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use crate::wire::{self, Look, Palette, json, render};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest capture that is taken, in bytes: four frames of the largest size.
const MAX_CAPTURE_BYTES: usize = 64 * 1024 * 1024;

/// What fits a terminal of 80 columns beside the annotations.
const LOOK_BYTES_PER_LINE: usize = 8;

pub(super) fn run(arguments: &DecodeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let bytes = match arguments.file.as_deref() {
        Some(path) if path != Path::new("-") => File::open(path).and_then(read).map_err(|error| {
            Failure::undecided(error).context(format!("the capture {} cannot be read", path.display()))
        }),
        _ => read(io::stdin().lock()).map_err(|error| {
            Failure::undecided(error).context("the capture cannot be read from standard input")
        }),
    };
    let bytes = bytes
        .map_err(|failure| failure.hint("name a file with the bytes that one side sent, as they are"))?;
    if bytes.len() > MAX_CAPTURE_BYTES {
        return Err(Failure::undecided(format!("the capture is larger than {MAX_CAPTURE_BYTES} bytes"))
            .hint("cut it between two frames, for example with head -c"));
    }
    let capture = wire::annotate(&bytes);
    let look = Look { palette: Palette::coloured(), bytes_per_line: LOOK_BYTES_PER_LINE };
    output.line(render::render(&capture, look))?;
    if output.is_json() {
        let document = serde_json::to_value(json::document(&capture))
            .map_err(|error| Failure::undecided(error).context("the capture cannot be written as JSON"))?;
        output.object(document)?;
    }
    Ok(if capture.is_accepted() { Verdict::Yes } else { Verdict::No })
}

/// One byte more than is taken, so that a larger capture is noticed.
fn read(capture: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    capture.take(MAX_CAPTURE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
