//! The commands, one file for each.

mod call;
mod decode;
mod demo;
mod generate;
mod identity_file;
mod load;
mod probe;
mod serve;
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
        Command::Probe(arguments) => probe::run(&arguments, output),
        Command::Call(arguments) => call::run(arguments, output),
        Command::Load(arguments) => load::run(&arguments, output),
        Command::Top(arguments) => top::run(&arguments, output),
        Command::Decode(arguments) => decode::run(&arguments, output),
        Command::Completions { shell } => generate::completions(shell, output),
        Command::Man { directory } => generate::manual(&directory, output),
    }
}
