//! The help, fitted to the terminal: an example first, the commands in groups, the exit status last.

use crate::wrap::wrapped;
use clap::Command;
use std::fmt::Write as _;

/// The groups of commands in the help; a command that no group names is in the last one.
const GROUPS: [(&str, &[&str]); 5] = [
    ("See it", &["ps", "status", "doctor", "logs", "top"]),
    ("Run it", &["start", "stop", "restart", "serve", "front", "install"]),
    ("Send to it", &["call", "load", "stampede"]),
    ("Explain it", &["probe", "decode", "conform", "demo"]),
    ("This command", &[]),
];

/// Columns before the description of a command.
const NAME_COLUMNS: usize = 15;
/// Columns assumed without a terminal.
const DEFAULT_WIDTH: usize = 100;
/// Columns beyond which lines are hard to read.
const MAX_WIDTH: usize = 120;

/// Returns the columns for the help: those of the terminal, if any standard stream is one.
pub(super) fn width() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(columns, _)| columns.0.into()).min(MAX_WIDTH)
}

/// Wraps the usages, examples and exit statuses of `command` and of its subcommands, and puts those into groups.
pub(super) fn fitted(mut command: Command, width: usize) -> Command {
    command.build();
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\n\
         {header}Options:{header:#}\n{{options}}{{after-help}}",
        groups(&command, width),
        header = command.get_styles().get_header(),
    );
    fit(command, width).help_template(template).mut_subcommands(|subcommand| fit(subcommand, width))
}

fn fit(mut command: Command, width: usize) -> Command {
    let usage = folded(&command.render_usage().to_string(), width);
    let [example, exit_status] = [command.get_before_help(), command.get_after_help()].map(|text| {
        let lines = text.map(ToString::to_string).unwrap_or_default();
        let lines = lines.lines().map(|line| folded(line, width)).collect::<Vec<_>>();
        lines.join("\n")
    });
    command
        .override_usage(usage.trim_start_matches("Usage: ").to_owned())
        .before_help(example)
        .after_help(exit_status)
        .term_width(width)
}

/// Returns the groups of subcommands with their headings.
fn groups(command: &Command, width: usize) -> String {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let is_in_group = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let mut text = String::new();
    for (title, names) in GROUPS {
        let others = command.get_subcommands().map(Command::get_name).filter(|name| !is_in_group(name));
        let names: Vec<&str> = if names.is_empty() { others.collect() } else { names.to_vec() };
        let _infallible = writeln!(text, "\n{header}{title}:{header:#}");
        for subcommand in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let name = subcommand.get_name();
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            let line = wrapped(&format!("  {name:<0$}{about}", NAME_COLUMNS - 2), width, NAME_COLUMNS, "");
            let _infallible =
                writeln!(text, "{}", line.replacen(name, &format!("{literal}{name}{literal:#}"), 1));
        }
    }
    text
}

/// Wraps a line of an example, so that it can still be copied into a shell, or one of an exit status or a usage.
fn folded(line: &str, width: usize) -> String {
    let trimmed = line.trim_start();
    let is_status = trimmed.starts_with(|char: char| char.is_ascii_digit());
    if trimmed.starts_with("running-process ") {
        wrapped(line, width, line.len() - trimmed.len() + 4, " \\")
    } else if is_status {
        wrapped(line, width, line.len() - trimmed.len() + 3, "")
    } else {
        wrapped(line, width, "Usage: ".len(), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::wrap::words;
    use clap::CommandFactory;

    #[test]
    fn an_example_is_wrapped_into_lines_that_a_shell_joins() {
        let example = "  running-process call cache.json --protocol 0xF0CA 'GET greeting'";
        let wrapped = "  running-process call cache.json \\\n      --protocol 0xF0CA 'GET greeting'";
        assert_eq!(folded(example, 40), wrapped);
        assert_eq!(folded(example, 80), example);
        let quoted = "  running-process call cache 'SET greeting hello'";
        assert_eq!(folded(quoted, 40), "  running-process call cache \\\n      'SET greeting hello'");
    }

    #[test]
    fn an_exit_status_is_wrapped_under_its_text() {
        let status = "  2  undecided: invalid arguments, no response in time";
        assert_eq!(folded(status, 30), "  2  undecided: invalid\n     arguments, no response in\n     time");
    }

    #[test]
    fn every_command_begins_with_an_example_and_ends_with_its_exit_status() {
        let command = Cli::command();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let text =
                |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
            let (name, example) = (command.get_name(), text(command.get_before_help()));
            assert!(example.starts_with("Example"), "{name}: {example}");
            for line in example.lines().skip(1) {
                assert!(line.starts_with("  running-process "), "{name}: {line}");
            }
            let exit_status = text(command.get_after_help());
            assert!(exit_status.starts_with("Exit status:\n  0  "), "{name}: {exit_status}");
        }
    }

    #[test]
    fn each_example_is_a_command_line_that_is_accepted() {
        for command in Cli::command().get_subcommands() {
            let example = command.get_before_help().map(ToString::to_string).unwrap_or_default();
            for line in example.lines().skip(1) {
                // Skip what follows a pipe or a redirection: it is for the shell.
                let line = line.split(['|', '<', '>']).next().unwrap();
                let words =
                    words(line.trim()).into_iter().map(|word| word.trim().trim_matches('\'').to_owned());
                let parsed = Cli::command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }
}
