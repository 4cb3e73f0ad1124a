//! The results as JUnit XML, which CI systems read.

use super::runner::{Judged, Outcome};
use crate::failure::Failure;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file of a report. It is opened before the first case, so that minutes of work are not lost for want of a place.
pub(super) struct Report {
    path: PathBuf,
    file: File,
}

impl Report {
    /// Opens the file and keeps what it has.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| unwritten(path, error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Replaces what the file has by the report.
    pub(super) fn write(mut self, judged: &[Judged]) -> Result<(), Failure> {
        let written = self.empty().and_then(|()| self.file.write_all(text(judged).as_bytes()));
        written.map_err(|error| unwritten(&self.path, error))
    }

    /// A pipe or a terminal has no length to set.
    fn empty(&self) -> io::Result<()> {
        if self.file.metadata()?.is_file() { self.file.set_len(0) } else { Ok(()) }
    }
}

fn unwritten(path: &Path, error: io::Error) -> Failure {
    Failure::from(error)
        .context(format!("the report {} cannot be written", path.display()))
        .hint("give --junit a file in a directory that you can write")
}

/// Returns one test suite. A case that is known to fail, or whose severity is not `must`, is a skipped test with the reason.
fn text(judged: &[Judged]) -> String {
    let failures = judged.iter().filter(|judged| judged.is_violation()).count();
    let is_skipped = |judged: &&Judged| !matches!(judged.outcome, Outcome::Passed) && !judged.is_violation();
    let skipped = judged.iter().filter(is_skipped).count();
    let seconds: f64 = judged.iter().map(|judged| judged.elapsed.as_secs_f64()).sum();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"running-process conform\" \
         tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{seconds:.3}\">\n",
        judged.len(),
    );
    for Judged { case, outcome, elapsed, .. } in judged {
        let group = case.name.split('-').next().unwrap_or_default();
        let _infallible = write!(
            xml,
            "<testcase classname=\"conform.{group}\" name=\"{}\" time=\"{:.3}\">",
            case.name,
            elapsed.as_secs_f64()
        );
        let severity = case.severity.name();
        let element = match outcome {
            Outcome::Passed => None,
            Outcome::Failed(fault) => {
                let message = format!("{} Expected: {}. Got: {}.", case.rule, fault.expected, fault.got);
                let is_violation = case.severity == super::case::Severity::Must;
                let (element, message) = if is_violation {
                    ("failure", message)
                } else {
                    ("skipped", format!("{severity}: {message}"))
                };
                Some((element, message))
            }
            Outcome::Known(_, reason) => Some(("skipped", format!("known: {reason}"))),
            Outcome::Skipped(reason) => Some(("skipped", reason.clone())),
        };
        if let Some((element, message)) = element {
            let _infallible = write!(xml, "<{element} message=\"{}\"/>", escaped(&message));
        }
        xml.push_str("</testcase>\n");
    }
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}

/// Escapes a text for an attribute. A control character, which XML cannot have, becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn an_attribute_has_no_markup_and_no_control_characters() {
        assert_eq!(escaped("a<b> & \"c\"\0\n"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}\u{fffd}");
    }
}
