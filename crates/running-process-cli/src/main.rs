//! The command `running-process`: sees, runs, loads, explains and mends the daemons of a user.

mod amount;
mod chart;
mod cli;
mod commands;
mod failure;
mod json;
mod message_writer;
mod output;
mod release;
mod screen;
mod service_file;
mod services;
mod table;
mod terminal;
mod text;
mod verdict;
mod wire;
mod wrap;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error),
    };
    let mut output = output::Output::new(cli.json);
    match commands::run(cli.command, &mut output) {
        Ok(verdict) => verdict.into(),
        Err(failure) => failure.print(cli.json),
    }
}
