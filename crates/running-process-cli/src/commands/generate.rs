//! `completions` and `man`: generated from the arguments.

use crate::cli::Cli;
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

pub(super) fn completions(shell: Shell, output: &mut Output) -> Result<Verdict, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "running-process", &mut script);
    output.bytes(&script)?;
    Ok(Verdict::Yes)
}

pub(super) fn manual(directory: &Path, output: &mut Output) -> Result<Verdict, Failure> {
    let written =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|error| {
        Failure::undecided(error)
            .context(format!("the manual cannot be written to {}", directory.display()))
            .hint("name a directory that you can write, for example ./man")
    })?;
    output.line(format_args!("wrote the manual to {}", directory.display()))?;
    output.object(serde_json::json!({ "directory": directory.display().to_string() }))?;
    Ok(Verdict::Yes)
}
