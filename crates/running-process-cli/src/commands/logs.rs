//! `logs`: prints the end of a service's log, and what is added to it.

mod changes;
mod log;
mod printer;

use crate::cli::LogsArgs;
use crate::failure::Failure;
use crate::failure::advice::Advice;
use crate::output::Output;
use crate::services::{self, no_place};
use crate::verdict::Verdict;
use changes::Changes;
use log::Log;
use printer::Printer;
use std::io;

pub(super) fn run(arguments: &LogsArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let selected = services::select(&arguments.service)?;
    let directory = selected.service.directory().map_err(no_place)?;
    let path = selected.service.log_file().map_err(no_place)?;
    let no_log = || {
        let advice =
            Advice::no("no_log").hint(format!("to start it: running-process start {}", selected.argument));
        Failure::new(format!("there is no file {}", path.display()), advice)
            .context(format!("{} has no log, which a client that starts it makes", selected.label))
    };
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => no_log(),
        _ => Failure::from(error).context(format!("the log {} cannot be read", path.display())),
    };
    // From here on an addition is an event.
    let changes = if arguments.follow { Some(Changes::of(&directory).map_err(unreadable)?) } else { None };
    let mut log = Log::open(&path, arguments.lines.0).map_err(unreadable)?;
    if log.is_missing() && changes.is_none() {
        return Err(no_log());
    }
    let mut printer = Printer::default();
    loop {
        while let Some(bytes) = log.read().map_err(unreadable)?
            && !output.is_closed()
        {
            printer.print(bytes, output)?;
        }
        match &changes {
            Some(changes) if !output.is_closed() && changes.wait().map_err(unreadable)? => {}
            _ => break,
        }
    }
    printer.end(output)?;
    Ok(Verdict::Yes)
}
