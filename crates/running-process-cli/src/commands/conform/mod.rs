//! `conform`: judges a daemon, in any language, by what it does with bytes on its socket.
//!
//! [`cases`] are the rules of docs/wire.md, each with the bytes that try it. [`frame`] and [`protobuf`] write and read these bytes
//! without the library's codec and clients, whose faults could otherwise hide themselves.

mod case;
mod cases;
mod client;
mod command;
mod connection;
mod daemon;
mod exchange;
mod expected;
mod fault;
mod frame;
mod hex;
mod junit;
mod pattern;
mod protobuf;
mod report;
mod runner;
mod survey;
mod trial;

use crate::cli::ConformArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;
use daemon::Daemon;
use expected::Expected;
use pattern::Selection;
use report::Subject;
use survey::Survey;
use trial::Target;

pub(super) fn run(arguments: &ConformArgs, output: &mut Output) -> Result<Verdict, Failure> {
    if arguments.client {
        return client::run(arguments, output);
    }
    let cases = Selection::new(&arguments.only, &arguments.skip).of(cases::all(), |case| &case.about)?;
    if arguments.list {
        return report::list(cases.iter().map(|case| &case.about), output);
    }
    let expected = Expected::read(arguments.expect.as_deref(), &cases::descriptions())?;
    let report = arguments.junit.as_deref().map(junit::Report::open).transpose()?;
    let daemon = if arguments.command.is_empty() { None } else { Some(Daemon::start(arguments)?) };
    let target = match (&daemon, &arguments.socket) {
        (Some(daemon), _) => daemon.target(),
        (None, Some(socket)) => Target::new(arguments, socket.clone()),
        (None, None) => {
            return Err(Failure::usage("a daemon is missing").hint("name its --socket, or a COMMAND"));
        }
    };
    let interrupted = || daemon.as_ref().is_some_and(Daemon::is_interrupted);
    if interrupted() {
        return Ok(Verdict::Interrupted);
    }
    let survey = Survey::of(&target, arguments.protocol.is_some())?;
    let judged = runner::run(&cases, &target, &survey, &expected, &interrupted);
    let ending = daemon.map(Daemon::end).transpose()?;
    if ending.as_ref().is_some_and(|ending| ending.is_interrupted) {
        return Ok(Verdict::Interrupted);
    }
    if let Some(report) = report {
        report.write(&judged)?;
    }
    let subject =
        Subject { socket: Some(&target.socket), protocol: target.protocol, ending: ending.as_ref() };
    report::print(&judged, &subject, arguments.verbose, output)
}
