//! The arguments of the commands that take a service.

use super::values::{LineCount, duration, line_count};
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

const START_EXIT_STATUS: &str = "\
Exit status:
  0  the daemon runs: it was started, or it ran already
  1  there is no daemon: it did not start, starts are paused, something else holds its place
  2  undecided: invalid arguments, an unusable file, no daemon in time";

const STOP_EXIT_STATUS: &str = "\
Exit status:
  0  no daemon runs: it was stopped, or none ran
  1  nothing was stopped: it is not proven which process is the daemon
  2  undecided: invalid arguments, an unusable file, no end in time";

const RESTART_EXIT_STATUS: &str = "\
Exit status:
  0  a new daemon runs and has proven itself
  1  no new daemon runs: it did not start, or something else holds its place
  2  undecided: invalid arguments, an unusable file, no new daemon in time";

const STATUS_EXIT_STATUS: &str = "\
Exit status:
  0  the daemon runs and has proven itself
  1  it does not run, starts, drains, or something else is in its place
  2  undecided: invalid arguments, an unusable file, no response in time";

/// The service that a command is about.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ServiceArg {
    /// The service: the name of its file in the configuration directory, without `.toml`, or of its directory.
    pub(crate) name: Option<String>,
    /// The service's TOML file, wherever it is.
    #[arg(long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) service_file: Option<PathBuf>,
}

const LOGS_EXIT_STATUS: &str = "\
Exit status:
  0  the log was printed
  1  there is no log
  2  undecided: invalid arguments, an unusable file, a log that cannot be read";

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  running-process logs cache\n  running-process logs cache -f --lines 20", after_help = LOGS_EXIT_STATUS)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Print what is added to the log as well, until Ctrl-C: also behind its limit, and of the daemons that follow.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The number of the last lines to print, or `all`.
    #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = line_count)]
    pub(crate) lines: LineCount,
}

const PS_EXIT_STATUS: &str = "\
Exit status:
  0  the state of each service could be told
  2  that of some could not, or a file is unusable: the last lines say why";

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  running-process ps\n  running-process ps --watch\n  running-process ps --all --ask", after_help = PS_EXIT_STATUS)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct PsArgs {
    /// The services and daemons to list; without any, all.
    #[arg(value_name = "NAME")]
    pub(crate) labels: Vec<String>,
    /// Show the list again and again, on a terminal in place, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// List the machine's other Unix sockets as well, with the processes that listen there. Nothing is sent to them.
    #[arg(short, long, conflicts_with_all = ["watch", "labels"])]
    pub(crate) all: bool,
    /// Ask the processes at this user's other sockets once what they claim to be, and show whether the kernel confirms it.
    ///
    /// Each gets a probe of 56 bytes at most, also a daemon that speaks another protocol, such as redis, and may log them as an
    /// error. A daemon that a service manager starts on demand is started. Sockets of other users are never asked.
    #[arg(long, requires = "all")]
    pub(crate) ask: bool,
    /// The time between two looks.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, requires = "watch")]
    pub(crate) interval: Duration,
    /// Print only the names, without those that a shell would interpret, and look at no daemon.
    #[arg(long, conflicts_with_all = ["watch", "json", "labels"])]
    pub(crate) names: bool,
    /// The time limit for all services together, for example 300ms or 10s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  running-process start cache\n  running-process start --file cache.toml", after_help = START_EXIT_STATUS)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// The time limit until the daemon serves, for example 300ms or 10s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  running-process stop cache\n  running-process stop --file cache.toml", after_help = STOP_EXIT_STATUS)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// The time limit until the daemon has ended; one that has not is killed then, or after 15s.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  running-process restart cache\n  running-process restart --file cache.toml", after_help = RESTART_EXIT_STATUS)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Stop the daemon before the new one is started, in the place of a handover while it serves.
    #[arg(long)]
    pub(crate) stop_first: bool,
    /// The time limit until the new daemon serves. The old one is killed if it has not ended 15s after it was asked to.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  running-process status cache\n  running-process status --file cache.toml", after_help = STATUS_EXIT_STATUS)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// The time limit of the proof, for example 300ms or 10s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}
