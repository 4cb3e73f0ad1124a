//! Frames as lines for a terminal: offset, hex, meaning, and carets under each problem.

use super::annotation::{AnnotatedFrame, FieldKey, Span};
use super::problem::{Problem, Severity};
use super::summary::Title;
use super::totals::Totals;
use super::value::{counted, grouped};
use anstyle::{AnsiColor, Style};
use std::fmt::{self, Display, Formatter, Write as _};
use std::ops::Range;

/// Number of lines of a long span before the elision.
const HEAD_LINES: usize = 5;
/// Largest number of lines of a span without an elision, which hides at least three lines.
const WHOLE_LINES: usize = HEAD_LINES + 2;
/// Width of the column of names in characters: that of the longest indented name of an identity's fields.
const NAME_WIDTH: usize = 22;

/// The layout of the lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) palette: Palette,
    /// Bytes in the hex column, at least 1. Eight fit a terminal of 80 columns, sixteen one of 110.
    pub(crate) bytes_per_line: usize,
}

/// The styles of the parts of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Palette {
    offset: Style,
    header: Style,
    key: Style,
    prefix: Style,
    value: Style,
    name: Style,
    detail: Style,
    heading: Style,
    error: Style,
    warning: Style,
    help: Style,
}

impl Palette {
    /// Returns the colours for a terminal. [`Palette::default`] has none.
    pub(crate) const fn coloured() -> Self {
        let plain = Style::new();
        Self {
            offset: plain.dimmed(),
            header: AnsiColor::Magenta.on_default(),
            key: AnsiColor::Blue.on_default(),
            prefix: AnsiColor::Yellow.on_default(),
            value: AnsiColor::Green.on_default(),
            name: plain.bold(),
            detail: plain.dimmed(),
            heading: plain.bold().underline(),
            error: AnsiColor::Red.on_default().bold(),
            warning: AnsiColor::Yellow.on_default().bold(),
            help: AnsiColor::Cyan.on_default(),
        }
    }
}

/// Returns the lines of the frame with the number `index`, counted from 0. Every line ends with a newline.
pub(crate) fn frame<'a>(index: usize, frame: &'a AnnotatedFrame<'a>, layout: Layout) -> impl Display + 'a {
    fmt::from_fn(move |formatter| {
        let offset_width = format!("{:x}", frame.end()).len().max(4);
        Page { formatter, shown: frame, layout, offset_width }.frame(index)
    })
}

/// Returns the line that follows all frames of a capture.
pub(crate) fn verdict(totals: Totals, palette: Palette) -> impl Display {
    fmt::from_fn(move |formatter| {
        let Totals { length, frames, errors, warnings } = totals;
        let (style, verdict) = match (errors, warnings) {
            _ if frames == 0 => (palette.warning, "nothing to decode".to_owned()),
            (0, 0) => (palette.value, "no problems".to_owned()),
            (0, _) => (palette.warning, counted(warnings, "warning")),
            (_, 0) => (palette.error, counted(errors, "error")),
            _ => (palette.error, format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"))),
        };
        let (frames, bytes) = (counted(frames, "frame"), counted(length, "byte"));
        writeln!(formatter, "{frames}, {bytes}: {}", painted(style, &verdict))
    })
}

struct Page<'a, 'f, 'w> {
    formatter: &'f mut Formatter<'w>,
    shown: &'a AnnotatedFrame<'a>,
    layout: Layout,
    offset_width: usize,
}

impl Page<'_, '_, '_> {
    fn frame(&mut self, index: usize) -> fmt::Result {
        let frame = self.shown;
        let heading = format!("frame {}", index + 1);
        let heading = painted(self.layout.palette.heading, &heading);
        let length = grouped(frame.length);
        writeln!(self.formatter, "{heading}  {}  ({length} bytes)", Title(frame))?;
        let mut problems = frame.problems.as_slice();
        for span in &frame.spans {
            // Missing bytes belong to the span before them.
            let belongs = |problem: &Problem| {
                problem.at.start < span.end() || problem.at.is_empty() && problem.at.start == span.end()
            };
            let here = problems.iter().take_while(|problem| belongs(problem)).count();
            let (here, later) = problems.split_at(here);
            problems = later;
            self.span(span, here)?;
        }
        writeln!(self.formatter)
    }

    fn span(&mut self, span: &Span<'_>, problems: &[Problem]) -> fmt::Result {
        let width = self.layout.bytes_per_line.max(1);
        let lines = span.length.div_ceil(width);
        // Bytes missing at the span's end belong to its last line.
        let line_of = |problem: &Problem| ((problem.at.start - span.offset) / width).min(lines - 1);
        let mut shown: Vec<usize> = if lines > WHOLE_LINES {
            (0..HEAD_LINES).chain(problems.iter().map(line_of)).collect()
        } else {
            (0..lines).collect()
        };
        shown.sort_unstable();
        shown.dedup();
        let mut next = 0;
        for line in shown {
            let start = span.offset + line * width;
            let end = span.end().min(start + width);
            let here: Vec<&Problem> = problems.iter().filter(|problem| line_of(problem) == line).collect();
            self.elision((line - next) * width)?;
            next = line + 1;
            self.hex(span, start..end, &here)?;
            if line == 0 {
                self.meaning(span)?;
            }
            writeln!(self.formatter)?;
            for problem in here {
                self.problem(problem, start, width)?;
            }
        }
        self.elision(span.length.saturating_sub(next * width))
    }

    fn elision(&mut self, hidden: usize) -> fmt::Result {
        if hidden == 0 {
            return Ok(());
        }
        let bytes = if hidden == 1 { "byte" } else { "bytes" };
        let text = format!("… {} more {bytes}", grouped(hidden));
        writeln!(
            self.formatter,
            "{:w$}{}",
            "",
            painted(self.layout.palette.detail, &text),
            w = self.offset_width + 2
        )
    }

    /// Writes the offset and the bytes of one line. Each run of bytes with one meaning has one colour.
    fn hex(&mut self, span: &Span<'_>, at: Range<usize>, problems: &[&Problem]) -> fmt::Result {
        let offset = format!("{:0w$x}", self.shown.offset + at.start, w = self.offset_width);
        write!(self.formatter, "{}  ", painted(self.layout.palette.offset, &offset))?;
        let mut run = String::new();
        let mut style = None;
        for position in at {
            let own = Some(self.byte_style(span, position, problems));
            if own != style {
                self.run(style, &run)?;
                // The blank before the run has no style.
                let blank = if run.is_empty() { "" } else { " " };
                self.formatter.write_str(blank)?;
                run.clear();
                style = own;
            }
            if !run.is_empty() {
                run.push(' ');
            }
            // Only the start of a long rest is buffered.
            let byte = self.shown.bytes.get(position).copied().unwrap_or_default();
            write!(run, "{byte:02x}")?;
        }
        self.run(style, &run)
    }

    fn run(&mut self, style: Option<Style>, run: &str) -> fmt::Result {
        style.map_or(Ok(()), |style| write!(self.formatter, "{}", painted(style, run)))
    }

    fn byte_style(&self, span: &Span<'_>, position: usize, problems: &[&Problem]) -> Style {
        let palette = &self.layout.palette;
        if let Some(problem) = problems.iter().find(|problem| problem.at.contains(&position)) {
            return self.severity_style(problem.severity);
        }
        let from_start = position - span.offset;
        match span.field {
            None if span.depth == 0 => palette.header,
            Some(field) if from_start < field.key_bytes => palette.key,
            Some(field) if from_start < field.key_bytes + field.prefix_bytes => palette.prefix,
            None | Some(_) => palette.value,
        }
    }

    /// Writes the name, the value and the remarks behind the bytes of the first line.
    fn meaning(&mut self, span: &Span<'_>) -> fmt::Result {
        let width = self.layout.bytes_per_line.max(1);
        let missing = width - span.length.min(width);
        let palette = &self.layout.palette;
        let indent = span.depth.saturating_sub(1) * 2;
        let (tag, detail) = match span.field {
            Some(field) if field.is_known => (format!("{} ", field.tag), detail(field)),
            Some(field) => (String::new(), detail(field)),
            None => (String::new(), String::new()),
        };
        let value = span.value.to_string();
        let used = indent + tag.len() + span.name.len();
        let note = span.note.as_deref().unwrap_or_default();
        let detail = [detail.as_str(), note].into_iter().filter(|part| !part.is_empty());
        let detail = detail.collect::<Vec<_>>().join(", ");
        write!(self.formatter, "{:missing$}   {:indent$}{tag}", "", "", missing = missing * 3)?;
        write!(self.formatter, "{}", painted(palette.name, &span.name))?;
        if !value.is_empty() || !detail.is_empty() {
            write!(self.formatter, "{:pad$}", "", pad = NAME_WIDTH.saturating_sub(used))?;
        }
        if !value.is_empty() {
            write!(self.formatter, "  {value}")?;
        }
        if !detail.is_empty() {
            write!(self.formatter, "  {}", painted(palette.detail, &detail))?;
        }
        Ok(())
    }

    /// Writes carets under the bytes of a problem in the line that begins at `start`, then its texts.
    fn problem(&mut self, problem: &Problem, start: usize, width: usize) -> fmt::Result {
        let column = problem.at.start - start;
        let bytes = problem.at.len().min(width.saturating_sub(column));
        let carets = (bytes * 3).saturating_sub(1).max(1);
        let style = self.severity_style(problem.severity);
        let left = self.offset_width + 2 + column * 3;
        let column = self.offset_width + 2 + width * 3 + 2;
        let label = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(self.formatter, "{:left$}{}", "", painted(style, &"^".repeat(carets)))?;
        write!(self.formatter, "{:gap$}{}", "", painted(style, label), gap = column - left - carets)?;
        writeln!(self.formatter, ": {}", problem.reason)?;
        let help = self.layout.palette.help;
        if let Some(expected) = problem.reason.expected() {
            writeln!(self.formatter, "{:column$}{}: {expected}", "", painted(help, "expected"))?;
        }
        writeln!(self.formatter, "{:column$}{}: {}", "", painted(help, "help"), problem.reason.help())
    }

    fn severity_style(&self, severity: Severity) -> Style {
        match severity {
            Severity::Error => self.layout.palette.error,
            Severity::Warning => self.layout.palette.warning,
        }
    }
}

fn detail(field: FieldKey) -> String {
    match field.announced {
        Some(length) => format!("{} {length}", field.wire_type),
        None => field.wire_type.to_string(),
    }
}

fn painted(style: Style, text: &str) -> impl Display + '_ {
    fmt::from_fn(move |formatter| write!(formatter, "{style}{text}{style:#}"))
}
