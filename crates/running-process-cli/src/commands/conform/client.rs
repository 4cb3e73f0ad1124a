//! `conform --client`: judges a client, in any language, by playing the daemon.
//!
//! For each case the client is started anew. It finds a daemon that keeps to the script of the case, is to send the request
//! [`REQUEST_PAYLOAD`](case::REQUEST_PAYLOAD), and either prints the payload of the answer and exits with 0, or fails.

mod case;
mod cases;
mod identity;
mod played;
mod process;
mod record;

use super::case::{Description, Need};
use super::command::{Places, private_directory, signals};
use super::expected::Expected;
use super::fault::{Fault, check};
use super::junit;
use super::pattern::Selection;
use super::report::{self, Subject};
use super::runner::{self, Judged};
use super::trial::PROTOCOL;
use crate::cli::ConformArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;
use case::{ClientCase, Expectation};
use identity::Identity;
use played::Played;
use process::{Limits, Run};
use record::Record;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Clients that run at once.
const WORKERS: usize = 4;
/// Most bytes of a payload that a message to people has.
const SHOWN: usize = 48;

/// Returns the descriptions of all cases.
pub(super) fn descriptions() -> Vec<&'static Description> {
    cases::all().into_iter().map(|case| &case.about).collect()
}

pub(super) fn run(arguments: &ConformArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let cases = Selection::new(&arguments.only, &arguments.skip).of(cases::all(), |case| &case.about)?;
    if arguments.list {
        return report::list(cases.iter().map(|case| &case.about), output);
    }
    let expected = Expected::read(arguments.expect.as_deref(), &descriptions())?;
    let report = arguments.junit.as_deref().map(junit::Report::open).transpose()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let _signals = signals(&interrupted)?;
    let directory = private_directory()?;
    let client = Client {
        arguments,
        expected,
        identity: Identity::of_this_process()?,
        directory: directory.path(),
        limits: Limits { timeout: arguments.timeout, interrupted: &interrupted },
    };
    let judged = runner::in_parallel(&cases, WORKERS, |case| client.judge(case));
    let judged: Vec<Judged> = judged.into_iter().collect::<Result<_, _>>()?;
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Verdict::Interrupted);
    }
    if let Some(report) = report {
        report.write(&judged)?;
    }
    let subject = Subject { socket: None, protocol: client.protocol(), ending: None };
    report::print(&judged, &subject, arguments.verbose, output)
}

struct Client<'a> {
    arguments: &'a ConformArgs,
    expected: Expected,
    /// The identity of this process.
    identity: Identity,
    directory: &'a Path,
    limits: Limits<'a>,
}

impl Client<'_> {
    fn judge(&self, case: &'static ClientCase) -> Result<Judged, Failure> {
        if self.limits.interrupted.load(Ordering::Relaxed) {
            return Ok(Judged::skipped(&case.about, "interrupted"));
        }
        let started = Instant::now();
        let (runs, record) = self.try_case(case)?;
        if let Some(reason) = missing(case, &record) {
            return Ok(Judged::skipped(&case.about, reason));
        }
        let result = runs.iter().try_for_each(|run| judge(case, run, &record, self.limits.timeout));
        Ok(Judged::new(&case.about, result, &self.expected, record.exchange, started.elapsed()))
    }

    /// Plays the daemon for the runs of the client.
    fn try_case(&self, case: &'static ClientCase) -> Result<(Vec<Run>, Record), Failure> {
        let directory = self.directory.join(case.about.name);
        std::fs::create_dir(&directory)?;
        let [socket, identity_file] = ["s", "identity.json"].map(|name| directory.join(name));
        let mut identity = self.identity.clone();
        socket.to_str().unwrap_or_default().clone_into(&mut identity.path);
        (case.recorded)(&mut identity);
        identity.write(&identity_file)?;
        (case.claimed)(&mut identity);
        let encoded = identity.encoded();
        let played = Played::bind(case, self.protocol(), &socket, &encoded)?;
        let places = Places { socket: &socket, identity_file: &identity_file, protocol: self.protocol() };
        let run = || process::run(&self.arguments.command, &places, &directory, &self.limits);
        let (runs, record) = played.serve(|| (0..case.runs).map(|_| run()).collect::<Result<Vec<_>, _>>());
        Ok((runs?, record))
    }

    fn protocol(&self) -> u64 {
        self.arguments.protocol.unwrap_or(PROTOCOL).into()
    }
}

/// Returns why the case could not be tried with this client.
fn missing(case: &ClientCase, record: &Record) -> Option<String> {
    if case.about.needs.contains(&Need::Probe) && record.probes().next().is_none() {
        return Some("the client sends no probe".to_owned());
    }
    record.missing.map(|need| match need {
        Need::Notices => "the client does not ask for notices".to_owned(),
        need => format!("the client does not list {}", need.name()),
    })
}

fn judge(case: &ClientCase, run: &Run, record: &Record, timeout: Duration) -> Result<(), Fault> {
    if let Some(fault) = &record.fault {
        return Err(fault.clone());
    }
    let wanted = match case.expected {
        Expectation::Prints(payload) => {
            format!("exit status 0, and {} on standard output", shown(&payload()))
        }
        Expectation::Fails => "a request, and an exit status other than 0".to_owned(),
        Expectation::FailsUnproven => "no request, and an exit status other than 0".to_owned(),
    };
    let Some(status) = run.status else {
        let got = format!("the client still ran after {:?}{}", timeout, said(run));
        return Err(Fault::new(wanted, got));
    };
    let Some(code) = status.code() else {
        return Err(Fault::new(wanted, format!("the client was ended by a signal: {status}{}", said(run))));
    };
    let has_asked = record.others().next().is_some();
    let got = || {
        let request = if has_asked { "a request" } else { "no request" };
        let printed = if run.stdout.is_empty() { String::new() } else { format!(", {}", shown(&run.stdout)) };
        format!("{request}, exit status {code}{printed}{}", said(run))
    };
    let is_right = match case.expected {
        Expectation::Prints(payload) => code == 0 && has_printed(&run.stdout, &payload()),
        Expectation::Fails => code != 0 && has_asked,
        Expectation::FailsUnproven => code != 0 && !has_asked,
    };
    check(is_right, wanted, got)?;
    (case.check)(record)
}

/// Returns whether `stdout` is the payload, or the payload and a line feed.
fn has_printed(stdout: &[u8], payload: &[u8]) -> bool {
    stdout.strip_prefix(payload).is_some_and(|rest| matches!(rest, b"" | b"\n"))
}

/// Formats bytes for a message.
fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("b\"{}\"{more}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

/// Returns what the client printed to standard error.
fn said(run: &Run) -> String {
    if run.stderr.is_empty() { String::new() } else { format!(", and on standard error: {}", run.stderr) }
}
