//! The results as a table, as text about each failed case, and as JSON.

use super::case::{Description, Need, Severity};
use super::daemon::Ending;
use super::exchange::Stream;
use super::fault::Fault;
use super::hex::hex;
use super::runner::{Judged, Outcome};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Align, Cell, Column, Table};
use crate::text::safe;
use crate::verdict::Verdict;
use crate::wire::{Layout, Palette, annotate, counted, render};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const RESULTS: [Column; 5] = [
    Column { title: "RESULT", align: Align::Left, rank: 0 },
    Column { title: "CASE", align: Align::Left, rank: 0 },
    Column { title: "SEVERITY", align: Align::Left, rank: 1 },
    Column { title: "TIME", align: Align::Right, rank: 2 },
    Column { title: "RULE", align: Align::Left, rank: 3 },
];
const CASES: [Column; 5] = [
    Column { title: "CASE", align: Align::Left, rank: 0 },
    Column { title: "SEVERITY", align: Align::Left, rank: 1 },
    Column { title: "NEEDS", align: Align::Left, rank: 2 },
    Column { title: "SECTION", align: Align::Left, rank: 4 },
    Column { title: "RULE", align: Align::Left, rank: 3 },
];
/// The layout of `decode`, which fits a terminal of 80 columns.
const LAYOUT: Layout = Layout { palette: Palette::coloured(), bytes_per_line: 8 };
/// Most frames of one connection and direction that are shown to people.
const MOST_FRAMES: usize = 4;

/// The program that was judged.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// The socket of a daemon; a client has another one in each case.
    pub(super) socket: Option<&'a Path>,
    /// The payload protocol of the conformance protocol.
    pub(super) protocol: u64,
    /// The end of a daemon that was started.
    pub(super) ending: Option<&'a Ending>,
}

/// Prints the cases.
pub(super) fn list(
    cases: impl Iterator<Item = &'static Description>,
    output: &mut Output,
) -> Result<Verdict, Failure> {
    let mut table = Table::new(CASES);
    for case in cases {
        table.row([
            Cell::new(case.name),
            Cell::new(case.severity.name()),
            Cell::new(needs(case).join(",")),
            Cell::new(case.section),
            Cell::new(case.rule),
        ]);
        let mut object = described(case);
        object["event"] = "listed".into();
        output.partial_object(object)?;
    }
    let width = output.size().map(|(columns, _)| columns);
    output.line(table.lines(width).join("\n"))?;
    output.flush()?;
    Ok(Verdict::Yes)
}

/// Prints the results. The verdict is "no" if a case of the severity `must` failed and was not known to.
pub(super) fn print(
    judged: &[Judged],
    subject: &Subject<'_>,
    verbose: bool,
    output: &mut Output,
) -> Result<Verdict, Failure> {
    let mut table = Table::new(RESULTS);
    for judged in judged {
        table.row(row(judged));
        output.partial_object(object(judged))?;
    }
    let width = output.size().map(|(columns, _)| columns);
    output.line(table.lines(width).join("\n"))?;
    for judged in judged {
        about(judged, verbose, output)?;
    }
    let early = subject.ending.and_then(|ending| ending.early.map(|status| (status, &ending.log)));
    if let Some((status, log)) = early {
        output.line(format_args!("the daemon ended before the last case: {status}; it printed:"))?;
        for line in log.lines() {
            output.line(format_args!("    | {}", safe(line)))?;
        }
    }
    let is_violated = early.is_some() || judged.iter().any(Judged::is_violation);
    let verdict = if is_violated { Verdict::No } else { Verdict::Yes };
    output.line(summary(judged, verdict))?;
    output.object(end(judged, subject, early.map(|(_, log)| log.as_str()), verdict))?;
    Ok(verdict)
}

fn row(judged: &Judged) -> [Cell; 5] {
    let Judged { case, outcome, elapsed, .. } = judged;
    let (word, style) = match outcome {
        Outcome::Passed => ("ok", AnsiColor::Green.on_default()),
        Outcome::Failed(_) if case.severity == Severity::Must => {
            ("FAILED", AnsiColor::Red.on_default().bold())
        }
        Outcome::Failed(_) => ("failed", AnsiColor::Yellow.on_default()),
        Outcome::Known(..) => ("known", AnsiColor::Cyan.on_default()),
        Outcome::Skipped(_) => ("skipped", Style::new().dimmed()),
    };
    let time = match outcome {
        Outcome::Skipped(_) => "-".to_owned(),
        _ => format!("{}ms", elapsed.as_millis()),
    };
    [
        Cell::styled(word, style),
        Cell::new(case.name),
        Cell::new(case.severity.name()),
        Cell::new(time),
        Cell::new(case.rule),
    ]
}

/// Prints what people want to know of a case besides its row.
fn about(judged: &Judged, verbose: bool, output: &mut Output) -> Result<(), Failure> {
    let Judged { case, outcome, notes, outdated, exchange, .. } = judged;
    for note in notes {
        output.line(format_args!("{}: {}", case.name, safe(note)))?;
    }
    if let Some(reason) = outdated {
        output.line(format_args!(
            "{}: passed, and is listed as known to fail: {}",
            case.name,
            safe(reason)
        ))?;
    }
    let (fault, known) = match outcome {
        Outcome::Failed(fault) => (fault, None),
        Outcome::Known(fault, reason) => (fault, Some(reason)),
        Outcome::Passed | Outcome::Skipped(_) => return Ok(()),
    };
    let bold = Style::new().bold();
    output.line(format_args!(
        "\n{bold}{}{bold:#} ({}, docs/wire.md, {}): {}",
        case.name,
        case.severity.name(),
        case.section,
        case.rule
    ))?;
    if let Some(reason) = known {
        output.line(format_args!("  known: {}", safe(reason)))?;
    }
    output.line(format_args!("  expected: {}", safe(&fault.expected)))?;
    output.line(format_args!("  got: {}", safe(&fault.got)))?;
    if verbose {
        for stream in exchange {
            let length = usize::try_from(stream.length).unwrap_or(usize::MAX);
            let heading = format!("connection {}, {}", stream.connection, stream.direction.name());
            output.part(bytes(&heading, &stream.bytes, length))?;
        }
        if !fault.expected_bytes.is_empty() {
            output.part(bytes("expected", &fault.expected_bytes, fault.expected_bytes.len()))?;
        }
    }
    output.flush()
}

/// Formats bytes as `decode` does. Of a long stream only the first frames are shown.
fn bytes(heading: &str, bytes: &[u8], length: usize) -> String {
    let mut text = format!("  {heading}: {}\n", counted(length, "byte"));
    let frames = annotate(bytes);
    for (index, frame) in frames.iter().enumerate().take(MOST_FRAMES) {
        let _infallible = write!(text, "{}", render::frame(index, frame, LAYOUT));
    }
    if frames.len() > MOST_FRAMES {
        let _infallible = writeln!(text, "  ... and more, of which --json has the bytes");
    }
    text
}

fn summary(judged: &[Judged], verdict: Verdict) -> String {
    let count = |is: &dyn Fn(&Judged) -> bool| judged.iter().filter(|judged| is(judged)).count();
    let passed = count(&|judged| matches!(judged.outcome, Outcome::Passed));
    let failed = |severity| count(&|judged| judged.fault().is_some() && judged.case.severity == severity);
    let mut parts = vec![format!("{passed} passed")];
    for severity in [Severity::Must, Severity::Should, Severity::Note] {
        let failed = failed(severity);
        if failed > 0 {
            parts.push(format!(
                "{failed} failed that {}",
                match severity {
                    Severity::Must => "must pass",
                    Severity::Should => "should pass",
                    Severity::Note => "may fail",
                }
            ));
        }
    }
    let known = count(&|judged| matches!(judged.outcome, Outcome::Known(..)));
    if known > 0 {
        parts.push(format!("{known} known to fail"));
    }
    for (reason, skipped) in skipped(judged) {
        parts.push(format!("{skipped} skipped ({})", safe(reason)));
    }
    let style =
        if verdict == Verdict::Yes { AnsiColor::Green.on_default() } else { AnsiColor::Red.on_default() };
    let word = if verdict == Verdict::Yes { "conforms" } else { "does not conform" };
    format!("\n{style}{word}{style:#}: of {}, {}", counted(judged.len(), "case"), parts.join(", "))
}

/// Returns the number of cases that were skipped for each reason.
fn skipped(judged: &[Judged]) -> BTreeMap<&str, usize> {
    let mut skipped = BTreeMap::new();
    for judged in judged {
        if let Outcome::Skipped(reason) = &judged.outcome {
            *skipped.entry(reason.as_str()).or_default() += 1;
        }
    }
    skipped
}

fn needs(case: &Description) -> Vec<&'static str> {
    case.needs.iter().copied().map(Need::name).collect()
}

fn described(case: &Description) -> Value {
    json!({
        "name": case.name,
        "rule": case.rule,
        "section": case.section,
        "severity": case.severity.name(),
        "needs": needs(case),
    })
}

fn object(judged: &Judged) -> Value {
    let Judged { case, outcome, outdated, notes, exchange, elapsed } = judged;
    let (name, reason) = match outcome {
        Outcome::Passed => ("passed", outdated.as_ref()),
        Outcome::Failed(_) => ("failed", None),
        Outcome::Known(_, reason) => ("known", Some(reason)),
        Outcome::Skipped(reason) => ("skipped", Some(reason)),
    };
    let fault = match outcome {
        Outcome::Failed(fault) | Outcome::Known(fault, _) => Some(fault),
        Outcome::Passed | Outcome::Skipped(_) => None,
    };
    let mut object = described(case);
    object["event"] = "case".into();
    object["outcome"] = name.into();
    object["reason"] = json!(reason);
    object["fault"] = fault.map_or(Value::Null, |fault| fault_object(fault, exchange));
    object["notes"] = json!(notes);
    object["elapsed_us"] = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).into();
    object
}

fn fault_object(fault: &Fault, exchange: &[Stream]) -> Value {
    json!({
        "expected": fault.expected,
        "got": fault.got,
        "expected_hex": hex(&fault.expected_bytes),
        "streams": exchange.iter().map(|stream| json!({
            "connection": stream.connection,
            "direction": stream.direction.name(),
            "length": stream.length,
            "hex": hex(&stream.bytes),
        })).collect::<Vec<_>>(),
    })
}

fn end(judged: &[Judged], subject: &Subject<'_>, log: Option<&str>, verdict: Verdict) -> Value {
    let count = |is: &dyn Fn(&Judged) -> bool| judged.iter().filter(|judged| is(judged)).count();
    json!({
        "event": "end",
        "verdict": verdict.name(),
        "socket": subject.socket.map(|socket| socket.display().to_string()),
        "payload_protocol": subject.protocol,
        "passed": count(&|judged| matches!(judged.outcome, Outcome::Passed)),
        "failed": count(&|judged| judged.fault().is_some()),
        "failed_must": count(&Judged::is_violation),
        "known": count(&|judged| matches!(judged.outcome, Outcome::Known(..))),
        "skipped": count(&|judged| matches!(judged.outcome, Outcome::Skipped(_))),
        "ended_early": log.is_some(),
        "log": log,
    })
}
