//! Findings as text.

use super::finding::Finding;
use super::kinds::{Fix, Severity};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::{columns, safe};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;

/// Narrowest text that is wrapped.
const MIN_COLUMNS: usize = 20;
const INDENT: &str = "  ";

/// Sorts findings as they are shown: the worst first, and those of one severity by the names of the services. Those of one service
/// keep their order.
pub(super) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|one, other| {
        let order = |finding: &Finding| (finding.kind.severity, finding.service.clone());
        order(one).cmp(&order(other))
    });
}

/// Prints all findings. With `fixes`, also why `--fix` has left them.
pub(super) fn print(findings: &[Finding], fixes: bool, output: &mut Output) -> Result<(), Failure> {
    let width = output.size().map_or(usize::MAX, |(columns, _)| columns.max(MIN_COLUMNS));
    for (index, finding) in findings.iter().enumerate() {
        let is_first = !findings[..index].iter().any(|earlier| earlier.kind == finding.kind);
        output.part(text(finding, is_first, fixes, width))?;
        output.part("\n")?;
        output.partial_object(finding.report())?;
    }
    output.flush()
}

/// Formats a finding as lines of at most `width` columns, with the explanation of its kind if it `explains` that. A command line is
/// not broken, so that it can be copied.
fn text(finding: &Finding, explains: bool, fixes: bool, width: usize) -> String {
    let kind = finding.kind;
    let (style, severity) = match kind.severity {
        Severity::Error => (AnsiColor::Red.on_default().bold(), "error"),
        Severity::Warning => (AnsiColor::Yellow.on_default().bold(), "warning"),
        Severity::Note => (AnsiColor::Cyan.on_default(), "note"),
    };
    let mut text = format!("{style}{severity}{style:#} {}: {}\n", safe(&finding.service), kind.id);
    wrap(&safe(&finding.what).to_string(), width, &mut text);
    for line in finding.log.lines() {
        let _infallible = writeln!(text, "{INDENT}{INDENT}| {}", safe(line));
    }
    if explains && kind.severity != Severity::Note {
        wrap(kind.why, width, &mut text);
        wrap(kind.advice, width, &mut text);
    }
    if let Some(remedy) = &finding.remedy {
        let bold = Style::new().bold();
        let _infallible = writeln!(text, "{INDENT}{INDENT}{bold}{}{bold:#}", safe(remedy));
    }
    if let (true, true, Fix::Leaves(reason)) = (fixes, explains, kind.fix) {
        wrap(&format!("Not fixed: {reason}."), width, &mut text);
    }
    text
}

/// Appends `words` as indented lines of at most `width` columns. A word that is longer has a line of its own.
fn wrap(words: &str, width: usize, text: &mut String) {
    let mut used = 0;
    for word in words.split(' ') {
        let length = columns(word);
        if used > 0 && used + 1 + length > width {
            text.push('\n');
            used = 0;
        }
        text.push_str(if used == 0 { INDENT } else { " " });
        used += if used == 0 { INDENT.len() } else { 1 } + length;
        text.push_str(word);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::kinds;

    #[test]
    fn the_worst_comes_first_then_services_by_name_then_the_order_of_the_checks() {
        let of = |kind, service| Finding::new(kind, service, "");
        let mut findings = [
            of(&kinds::DRAINING, "a"),
            of(&kinds::STALE_FILES, "cache"),
            of(&kinds::IMPOSTOR, "cache"),
            of(&kinds::STALE_FILES, "build"),
            of(&kinds::STATE_UNKNOWN, "build"),
            of(&kinds::BUSY, "cache"),
        ];
        sort(&mut findings);
        let order = findings.iter().map(|finding| (finding.kind.id, &*finding.service)).collect::<Vec<_>>();
        let expected = [
            ("impostor", "cache"),
            ("stale_files", "build"),
            ("state_unknown", "build"),
            ("stale_files", "cache"),
            ("busy", "cache"),
            ("draining", "a"),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn lines_are_wrapped_between_words_and_command_lines_are_not() {
        let finding =
            Finding::new(&kinds::STALE_FILES, "cache", "process 7 has ended and left two files behind")
                .remedy("running-process doctor cache --fix and more");
        let shown = anstream::adapter::strip_str(&text(&finding, true, false, 24)).to_string();
        assert!(shown.starts_with(
            "warning cache: stale_files\n  process 7 has ended\n  and left two files\n  behind\n"
        ));
        assert!(shown.ends_with("\n    running-process doctor cache --fix and more\n"), "{shown}");
        for width in 20..100 {
            for line in anstream::adapter::strip_str(&text(&finding, true, true, width)).to_string().lines() {
                assert!(
                    columns(line) <= width
                        || line.starts_with("    ")
                        || !line.trim().contains(' ')
                        || line.starts_with("warning"),
                    "{width} {line:?}"
                );
            }
        }
    }
}
