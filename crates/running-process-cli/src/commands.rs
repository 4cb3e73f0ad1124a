//! The commands, one file for each.

mod call;
#[cfg_attr(not(unix), path = "commands/conform_unsupported.rs")]
mod conform;
mod daemon_log;
mod decode;
mod demo;
mod doctor;
mod failed;
mod found;
mod front;
mod generate;
mod identity_file;
mod install;
mod load;
mod logs;
mod probe;
mod ps;
mod restart;
mod serve;
mod stampede;
mod start;
mod status;
mod stop;
mod target;
mod top;

use crate::cli::Command;
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;

/// Runs a command.
pub(crate) fn run(command: Command, output: &mut Output) -> Result<Verdict, Failure> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Serve(arguments) => serve::run(&arguments, output),
        Command::Front(arguments) => front::run(&arguments, output),
        Command::Start(arguments) => start::run(&arguments, output),
        Command::Stop(arguments) => stop::run(&arguments, output),
        Command::Restart(arguments) => restart::run(&arguments, output),
        Command::Status(arguments) => status::run(&arguments, output),
        Command::Doctor(arguments) => doctor::run(&arguments, output),
        Command::Logs(arguments) => logs::run(&arguments, output),
        Command::Ps(arguments) => ps::run(&arguments, output),
        Command::Probe(arguments) => probe::run(&arguments, output),
        Command::Install(arguments) => install::run(&arguments, output),
        Command::Stampede(arguments) => stampede::run(&arguments, output),
        Command::Call(arguments) => call::run(arguments, output),
        Command::Load(arguments) => load::run(&arguments, output),
        Command::Top(arguments) => top::run(&arguments, output),
        Command::Conform(arguments) => conform::run(&arguments, output),
        Command::Decode(arguments) => decode::run(&arguments, output),
        Command::Completions { shell } => generate::completions(shell, output),
        Command::Man { directory } => generate::manual(&directory, output),
    }
}
