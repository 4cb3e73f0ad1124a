//! `stampede`: does to a service what many impatient clients do, in a root of its own.

mod bed;
mod client;
mod course;
mod crowd;
mod inbox;
mod leftover;
mod outcome;
#[cfg_attr(not(target_os = "linux"), path = "processes_unsupported.rs")]
mod processes;
mod report;
mod situation;

use crate::cli::StampedeArgs;
use crate::failure::Failure;
use crate::failure::advice::Advice;
use crate::output::Output;
use crate::services;
use crate::text::safe;
use crate::verdict::Verdict;
use bed::Bed;
use course::Course;
use crowd::Clients;
use inbox::{Inbox, Stopped};
use report::Report;
use situation::Situation;

pub(super) fn run(arguments: &StampedeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let selected = services::select(&arguments.service)?;
    if let Some(root) = &arguments.client_of {
        return client::run(selected, root, arguments);
    }
    let Some(file) = &selected.file else {
        let error = format!("{} has no file, so its command is not known", safe(&selected.label));
        return Err(Failure::new(error, Advice::undecided("no_command"))
            .hint("name the service's TOML file: stampede --file FILE"));
    };
    let inbox = Inbox::open()?;
    let bed = Bed::new(&selected.service, arguments.timeout)?;
    let clients = Clients::new(file, bed.root(), arguments)?;
    output.line(format_args!(
        "{} clients of {} ask at once, in a directory of its own: {}",
        arguments.clients,
        safe(&selected.label),
        safe(bed.root().display()),
    ))?;
    let cleared = bed.root().parent().map(leftover::clear).unwrap_or_default();
    let mut report = Report::new(arguments, selected.service.clone(), cleared);
    let mut course = Course { bed: &bed, clients: &clients, inbox: &inbox, cold_start: None };
    for situation in Situation::ALL {
        if report.is_over() {
            break;
        }
        match course.run(situation) {
            Ok(outcome) => report.add(outcome),
            Err(Stopped::Interrupted) => return Ok(Verdict::Interrupted),
            Err(Stopped::Failed(failure)) => report.ends_before(situation, failure),
        }
    }
    let log = bed.log();
    report.ends(bed.end()?, log);
    report.print(output)
}
