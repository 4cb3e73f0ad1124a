//! Sizes and styles of the terminals that standard output and standard error may be.

use crate::text::write_line;
use crate::wrap::fitted;
use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use std::io;
use terminal_size::terminal_size_of;

/// Columns assumed without a terminal that reports its size.
pub(crate) const DEFAULT_COLUMNS: usize = 80;

/// Returns the current columns and rows of standard output, if it is a terminal that reports them.
pub(crate) fn stdout_size() -> Option<(usize, usize)> {
    terminal_size_of(io::stdout()).map(|(columns, rows)| (columns.0.into(), rows.0.into()))
}

/// Returns the current columns of standard error.
pub(crate) fn stderr_columns() -> usize {
    terminal_size_of(io::stderr()).map_or(DEFAULT_COLUMNS, |(columns, _)| columns.0.into())
}

/// Returns whether `stream` takes styles, and enables them in a Windows console.
pub(crate) fn is_styled<S: RawStream>(stream: S) -> bool {
    let is_styled = AutoStream::choice(&stream) != ColorChoice::Never;
    if is_styled {
        let _console = AutoStream::always_ansi(stream);
    }
    is_styled
}

/// Formats a text of this command for standard error, wrapped if that is a terminal, and with styles if that takes them.
pub(crate) fn for_stderr(text: &str) -> String {
    let text = match terminal_size_of(io::stderr()) {
        Some((columns, _)) => fitted(text, columns.0.into()),
        None => text.to_owned(),
    };
    let mut line = String::with_capacity(text.len());
    write_line(&text, is_styled(io::stderr()), &mut line);
    line
}
