//! The command `running-process`: try, serve, probe, call, load, watch and decode a daemon's endpoint.

mod cli;
mod commands;
mod failure;
mod json;
mod message_writer;
mod output;
mod terminal;
mod text;
mod verdict;
mod wire;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error),
    };
    let mut output = output::Output::new(cli.json);
    match commands::run(cli.command, &mut output) {
        Ok(verdict) => verdict.into(),
        Err(failure) => failure.print(cli.json),
    }
}
