//! `completions` and `man`: print scripts and write pages, generated from the arguments.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::safe;
use crate::verdict::Verdict;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use std::path::Path;

const NAME: &str = "running-process";

pub(super) fn completions(shell: Shell, output: &mut Output) -> Result<Verdict, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    let mut script = String::from_utf8(script).map_err(Failure::undecided)?;
    if shell == Shell::Bash {
        // The generator treats the hyphen as the start of a subcommand where it looks options up, but not where it joins the
        // words of the line.
        script = script.replace("running__subcmd__process", "running__process");
    }
    if shell == Shell::Fish {
        // The generator does not complete values of positional arguments.
        script +=
            "complete -c running-process -n \"__fish_running_process_using_subcommand completions\" -f -a \"";
        script += &Shell::value_variants().iter().map(Shell::to_string).collect::<Vec<_>>().join(" ");
        script += "\"\n";
    }
    if output.is_json() {
        output.object(serde_json::json!({ "shell": shell.to_string(), "script": script }))?;
    } else {
        output.verbatim(script.as_bytes())?;
        output.flush()?;
    }
    Ok(Verdict::Yes)
}

pub(super) fn manual(directory: &Path, output: &mut Output) -> Result<Verdict, Failure> {
    let written =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|error| {
        Failure::from(error)
            .context(format!("the manual cannot be written to {}", directory.display()))
            .hint("name a directory that you can write, for example ./man")
    })?;
    output.line(format_args!("wrote the manual to {}", safe(directory.display())))?;
    output.object(serde_json::json!({ "directory": directory.display().to_string() }))?;
    Ok(Verdict::Yes)
}
