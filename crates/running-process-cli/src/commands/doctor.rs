//! `doctor`: finds and explains what is wrong with a service, or with all of them, and mends what is safe to mend.
//!
//! [`facts`] are gathered once, [`checks`] are pure functions from them to findings, and [`kinds`] is the table of all of them.

mod checks;
mod facts;
mod finding;
mod fix;
mod kinds;
mod report;

use crate::cli::{DoctorArgs, ServiceArg};
use crate::failure::{Failure, with_causes};
use crate::output::Output;
use crate::services::{self, Selected, Unusable};
use crate::text::{safe, shell_word};
use crate::verdict::Verdict;
use anstyle::AnsiColor;
use facts::{Facts, Process, Surroundings};
use finding::Finding;
use fix::Outcome;
use kinds::{Fix, Severity};
use running_process::broker::service::{Service, ServiceSocket};
use serde_json::json;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

pub(super) fn run(arguments: &DoctorArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let mut diagnosis = Diagnosis::of(arguments)?;
    let outcomes = if arguments.fix { diagnosis.fix(arguments, output)? } else { Vec::new() };
    if outcomes.contains(&Outcome::Done) {
        diagnosis = Diagnosis::of(arguments)?;
    }
    diagnosis.print(arguments, outcomes.contains(&Outcome::Failed), output)
}

/// All services that the command is about, and what was found.
struct Diagnosis {
    services: Vec<Facts>,
    /// The number of files that describe no service.
    unusable: usize,
    /// The sockets of services in all roots, if the system lists them.
    sockets: Option<Vec<ServiceSocket>>,
    /// In the order in which they are shown: the worst first.
    findings: Vec<Finding>,
}

impl Diagnosis {
    fn of(arguments: &DoctorArgs) -> Result<Self, Failure> {
        let deadline = Instant::now() + arguments.deadline;
        let (selected, mut findings) = services(arguments)?;
        let unusable = findings.len();
        let (sockets, services) = thread::scope(|scope| {
            let sockets = scope.spawn(|| ServiceSocket::all(deadline));
            let surroundings = Surroundings::look();
            let gather = |selected| Facts::gather(selected, &surroundings, deadline);
            let services = services::on_threads(selected, gather);
            (sockets.join().unwrap_or_else(|panic| resume_unwind(panic)), services)
        });
        let sockets = sockets.map_err(|error| findings.extend(not_listed(&error))).ok();
        let services =
            services::on_threads(services, |facts| facts.with_sockets(sockets.as_deref(), deadline));
        findings.extend(services.iter().flat_map(checks::all));
        findings
            .extend(sockets.iter().flatten().filter_map(|socket| unreachable(socket, &services, arguments)));
        report::sort(&mut findings);
        Ok(Self { services, unusable, sockets, findings })
    }

    /// Does what is safe about the findings, and ends the process that the arguments name.
    fn fix(&self, arguments: &DoctorArgs, output: &mut Output) -> Result<Vec<Outcome>, Failure> {
        let deadline = Instant::now() + arguments.deadline;
        let mut outcomes = Vec::new();
        for finding in self.findings.iter().filter(|finding| matches!(finding.kind.fix, Fix::Does(_))) {
            if let Some(facts) = self.services.iter().find(|facts| facts.selected.label == finding.service) {
                let outcome = fix::leftovers(&facts.selected, deadline, output)?;
                if outcome == Outcome::Done && facts.foreign.is_none() {
                    let Selected { label, argument, .. } = &facts.selected;
                    output
                        .line(format_args!("fixed {}; now: running-process start {argument}", safe(label)))?;
                }
                outcomes.push(outcome);
            }
        }
        if let Some(pid) = arguments.end {
            outcomes.push(fix::end(pid, self.sockets.as_deref().unwrap_or_default(), deadline, output)?);
        }
        Ok(outcomes)
    }

    /// Prints the findings and their number. The verdict is "no" as well if a fix has failed.
    fn print(
        &self,
        arguments: &DoctorArgs,
        has_failed: bool,
        output: &mut Output,
    ) -> Result<Verdict, Failure> {
        report::print(&self.findings, arguments.fix, output)?;
        let count = |severity| {
            self.findings
                .iter()
                .filter(|finding| finding.kind.severity == severity && !finding.kind.is_undecided)
                .count()
        };
        let undecided = self.findings.iter().filter(|finding| finding.kind.is_undecided).count();
        let (errors, warnings, notes) =
            (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
        let (verdict, word) = match (errors + warnings, undecided) {
            _ if has_failed => (Verdict::No, "no"),
            (0, 0) => (Verdict::Yes, "yes"),
            (0, _) => (Verdict::Undecided, "undecided"),
            _ => (Verdict::No, "no"),
        };
        let counts = [
            counted(errors, "error"),
            counted(warnings, "warning"),
            (undecided > 0).then(|| format!("{undecided} that cannot be told from here")),
            counted(notes, "note"),
        ];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        output.line(self.summary(arguments, verdict, &counts.join(", ")))?;
        output.object(json!({
            "event": "end",
            "verdict": word,
            "services": self.services.len() + self.unusable,
            "errors": errors,
            "warnings": warnings,
            "undecided": undecided,
            "notes": notes,
        }))?;
        Ok(verdict)
    }

    /// Formats the last line.
    fn summary(&self, arguments: &DoctorArgs, verdict: Verdict, counts: &str) -> String {
        let services = match (&self.services[..], self.unusable) {
            ([facts], 0) if self.subjects().iter().all(|label| *label == facts.selected.label) => {
                let state =
                    facts.state.as_ref().map_or("in a state that cannot be told", |state| state.name());
                format!("{} is {state}", safe(&facts.selected.label))
            }
            ([], 0) => "no service is known".to_owned(),
            (all, unusable) => counted(all.len() + unusable, "service").unwrap_or_default(),
        };
        if verdict == Verdict::Yes {
            let green = AnsiColor::Green.on_default();
            let notes = if counts.is_empty() { "nothing is wrong" } else { counts };
            return format!("{green}ok{green:#}: {services}, {notes}");
        }
        let fixable = self.findings.iter().filter(|finding| matches!(finding.kind.fix, Fix::Does(_))).count();
        let fix = match (arguments.fix, fixable) {
            (true, _) | (_, 0) => String::new(),
            _ => format!("; to mend {fixable} of them: running-process doctor{} --fix", words(arguments)),
        };
        let counts = if counts.is_empty() { "nothing else is wrong" } else { counts };
        let subjects = match &self.subjects()[..] {
            [] => String::new(),
            labels if self.services.len() == 1 && labels == [&self.services[0].selected.label] => {
                String::new()
            }
            labels => format!(" about {}", services::listed(labels)),
        };
        format!("{services}: {counts}{subjects}{fix}")
    }

    /// Returns the labels of all with an error or a warning.
    fn subjects(&self) -> Vec<&str> {
        let faults = self.findings.iter().filter(|finding| finding.kind.severity != Severity::Note);
        let mut labels: Vec<&str> = faults.map(|finding| &*finding.service).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }
}

/// Returns the finding about sockets that cannot be listed. On a system that lists none, all that has a name is found all the same.
fn not_listed(error: &io::Error) -> Option<Finding> {
    let what = format!("the sockets of this machine cannot be listed: {}", with_causes(error));
    (error.kind() != io::ErrorKind::Unsupported)
        .then(|| Finding::new(&kinds::STATE_UNKNOWN, "all services", what))
}

/// Returns the finding about a socket that clients cannot reach: one of `services`, or of any in a look at all of them.
fn unreachable(socket: &ServiceSocket, services: &[Facts], arguments: &DoctorArgs) -> Option<Finding> {
    let is_its = |facts: &&Facts| facts.examination.as_ref().is_ok_and(|found| found.socket == socket.path);
    let daemon = socket.owners.first().filter(|_| socket.is_reachable == Some(false))?.pid;
    let (label, is_of_root) = match services.iter().find(is_its) {
        // The finding about the stopped daemon tells how it becomes reachable.
        Some(facts) if facts.stopped == Some(daemon) => return None,
        Some(facts) => (facts.selected.label.clone(), true),
        None if arguments.name.is_none() && arguments.service_file.is_none() => {
            let is_of_root = root().is_some_and(|root| socket.path.starts_with(root));
            (fix::label_of(&socket.path), is_of_root)
        }
        None => return None,
    };
    let fix = format!("running-process doctor{}", words(arguments));
    let details = Process::of(daemon).details();
    checks::sockets::check(socket, &label, &details, is_of_root.then_some(&*fix))
}

/// Returns the directory of the directories of services in which this command looks.
fn root() -> Option<PathBuf> {
    let directory = Service::new("doctor").ok()?.directory().ok()?;
    directory.parent().map(Path::to_owned)
}

/// Returns the arguments by which the command takes the same services.
fn words(arguments: &DoctorArgs) -> String {
    match (&arguments.name, &arguments.service_file) {
        (_, Some(file)) => format!(" --file {}", shell_word(file)),
        (Some(name), None) => format!(" {}", safe(name)),
        (None, None) => String::new(),
    }
}

fn counted(count: usize, what: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    }
}

/// Returns the services that the command is about, and the findings about files that describe none.
fn services(arguments: &DoctorArgs) -> Result<(Vec<Selected>, Vec<Finding>), Failure> {
    if arguments.name.is_some() || arguments.service_file.is_some() {
        let argument =
            ServiceArg { name: arguments.name.clone(), service_file: arguments.service_file.clone() };
        return match services::select(&argument) {
            Ok(selected) => Ok((vec![selected], Vec::new())),
            Err(failure) if failure.name() == "service_file_invalid" => {
                let file = arguments.service_file.as_ref().map(|file| file.display().to_string());
                let label = arguments.name.clone().or(file).unwrap_or_default();
                Ok((Vec::new(), vec![invalid(&label, &failure)]))
            }
            Err(failure) => Err(failure),
        };
    }
    let (mut selected, mut findings) = (Vec::new(), Vec::new());
    for service in services::all()? {
        match service {
            Ok(service) => selected.push(service),
            Err(Unusable { label, file, failure }) => findings.push(invalid(&label, &failure).path(&file)),
        }
    }
    Ok((selected, findings))
}

fn invalid(label: &str, failure: &Failure) -> Finding {
    Finding::new(&kinds::SERVICE_FILE_INVALID, label, failure.sentence())
}
