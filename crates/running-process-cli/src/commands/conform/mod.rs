//! `conform`: judges a daemon, in any language, by what it does with bytes on its socket.
//!
//! [`cases`] are the rules of docs/wire.md, each with the bytes that try it. [`frame`] and [`protobuf`] write and read these bytes
//! without the library's codec and clients, whose faults could otherwise hide themselves.

mod case;
mod cases;
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
use survey::Survey;
use trial::Target;

pub(super) fn run(arguments: &ConformArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let cases = Selection::new(&arguments.only, &arguments.skip).of(cases::all())?;
    if arguments.list {
        return report::list(&cases, output);
    }
    let expected = arguments.expect.as_deref().map_or_else(|| Ok(Expected::default()), Expected::read)?;
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
    if let Some(file) = &arguments.junit {
        junit::write(file, &judged)?;
    }
    report::print(&judged, &target, ending.as_ref(), arguments.verbose, output)
}
