//! `completions` and `man`: print scripts and write pages, generated from the arguments.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::safe;
use crate::verdict::Verdict;
use clap::builder::StyledStr;
use clap::{Arg, CommandFactory, ValueEnum, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fmt::Write;
use std::io;
use std::path::Path;

const NAME: &str = "running-process";

pub(super) fn completions(shell: Shell, output: &mut Output) -> Result<Verdict, Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command().mut_subcommands(|command| command.mut_args(without_files));
    clap_complete::generate(shell, &mut command, NAME, &mut script);
    let script = String::from_utf8(script).map_err(Failure::undecided)?;
    let script = match shell {
        Shell::Bash => bash(&script),
        Shell::Fish => fish(script),
        Shell::Zsh => zsh(&script),
        _ => script,
    };
    if output.is_json() {
        output.object(serde_json::json!({ "shell": shell.to_string(), "script": script }))?;
    } else {
        output.verbatim(script.as_bytes())?;
        output.flush()?;
    }
    Ok(Verdict::Yes)
}

/// Returns an option whose value is no path as one that is not completed by files.
fn without_files(option: Arg) -> Arg {
    let has_value = !option.is_positional() && option.get_action().takes_values();
    let is_plain = option.get_value_hint() == ValueHint::Unknown && option.get_possible_values().is_empty();
    if has_value && is_plain { option.value_hint(ValueHint::Other) } else { option }
}

/// Returns the commands that take the name of a service as `argument`: `name`, or `identity_file` if it may also be a path.
fn commands_with(argument: &str) -> Vec<String> {
    let command = Cli::command();
    let takes = |command: &&clap::Command| command.get_positionals().any(|found| found.get_id() == argument);
    command.get_subcommands().filter(takes).map(|command| command.get_name().to_owned()).collect()
}

fn bash(script: &str) -> String {
    /// The completion of a value that is no file, by what is typed already.
    const ECHO: &str = r#"COMPREPLY=("${cur}")
                    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
                        compopt -o nospace
                    fi"#;
    // The generator treats the hyphen as the start of a subcommand where it looks options up, but not where it joins the
    // words of the line.
    let script = script.replace("running__subcmd__process", "running__process").replace(ECHO, "COMPREPLY=()");
    let commands = [commands_with("name"), commands_with("identity_file")].concat();
    commands.iter().fold(script, |script, command| {
        let words = format!("        running__process__subcmd__{command})\n            opts=\"");
        script.replacen(&words, &format!("{words}$(\"$1\" ps --names 2>/dev/null) "), 1)
    })
}

/// Adds what the generator does not complete: values of positional arguments.
fn fish(mut script: String) -> String {
    const SERVICES: &str = "(running-process ps --names 2>/dev/null)";
    let mut add = |commands: &str, files: &str, values: &str| {
        let condition = format!("__fish_running_process_using_subcommand {commands}");
        let _infallible =
            writeln!(script, "complete -c running-process -n \"{condition}\" {files} -a \"{values}\"");
    };
    let shells: Vec<String> = Shell::value_variants().iter().map(Shell::to_string).collect();
    add("completions", "-f", &shells.join(" "));
    add(&commands_with("name").join(" "), "-f", SERVICES);
    add(&commands_with("identity_file").join(" "), "-F", SERVICES);
    script
}

fn zsh(script: &str) -> String {
    const FUNCTION: &str = "
_running_process_services() {
    local -a services=(${(f)\"$(_call_program services running-process ps --names 2>/dev/null)\"})
    _describe -t services 'service' services
}
";
    let mut lines = String::new();
    for line in script.lines() {
        match (line.strip_suffix(":_default' \\"), line.strip_suffix(":_files' \\")) {
            (Some(name), _) if name.starts_with("'::name -- ") => {
                lines += name;
                lines += ":_running_process_services' \\";
            }
            (_, Some(name)) if name.starts_with("':identity_file -- ") => {
                lines += name;
                lines += ":{_running_process_services; _files}' \\";
            }
            _ => lines += line,
        }
        lines.push('\n');
        if line == "autoload -U is-at-least" {
            lines += FUNCTION;
        }
    }
    lines
}

pub(super) fn manual(directory: &Path, output: &mut Output) -> Result<Verdict, Failure> {
    let written = std::fs::create_dir_all(directory).and_then(|()| write_pages(directory));
    written.map_err(|error| {
        Failure::from(error)
            .context(format!("the manual cannot be written to {}", directory.display()))
            .hint("name a directory that you can write, for example ./man")
    })?;
    output.line(format_args!("wrote the manual to {}", safe(directory.display())))?;
    output.object(serde_json::json!({ "directory": directory.display().to_string() }))?;
    Ok(Verdict::Yes)
}

/// Writes a page for the command, and one for each of its subcommands.
fn write_pages(directory: &Path) -> io::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let man = Man::new(command.clone());
        let mut page = Vec::new();
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        render_synopsis(&mut command.clone(), &mut page)?;
        render_section("EXAMPLES", command.get_before_help(), &mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        render_section("EXIT STATUS", command.get_after_help(), &mut page)?;
        std::fs::write(directory.join(man.get_filename()), page)?;
    }
    Ok(())
}

/// Renders the usage. The generator's own synopsis lacks the values of options.
fn render_synopsis(command: &mut clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let usage = command.render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage: ").split_whitespace().collect();
    let name = command.get_bin_name().unwrap_or(NAME).to_owned();
    let usage = usage.join(" ");
    let arguments = usage.strip_prefix(&name).unwrap_or(&usage).to_owned();
    let mut section = Roff::new();
    section.control("SH", ["SYNOPSIS"]).text([bold(name), roman(arguments)]);
    section.to_writer(page)
}

/// Renders the lines of `text` behind its own title, as they are.
fn render_section(title: &str, text: Option<&StyledStr>, page: &mut Vec<u8>) -> io::Result<()> {
    let text = text.map(ToString::to_string).unwrap_or_default();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    let mut section = Roff::new();
    section.control("SH", [title]);
    section.control("nf", []).text([roman(lines.join("\n"))]).control("fi", []);
    section.to_writer(page)
}
