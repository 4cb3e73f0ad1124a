//! The arguments and the help of all commands.

mod conform;
mod doctor;
mod front;
mod help;
mod install;
mod service;
mod stampede;
mod tips;
mod values;

pub(crate) use conform::ConformArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use front::FrontArgs;
pub(crate) use install::InstallArgs;
pub(crate) use service::{LogsArgs, PsArgs, RestartArgs, ServiceArg, StartArgs, StatusArgs, StopArgs};
pub(crate) use stampede::StampedeArgs;
pub(crate) use values::duration;

use crate::chart::Glyphs;
use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::for_stderr;
use crate::text::{is_hostile, safe};
use crate::verdict::Verdict;
use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use values::{duration_or_none, number, payload_protocol, payload_size};

const EXIT_STATUS: &str = "\
Exit status:
  0  yes: the command succeeded, the daemon is verified, the capture is well-formed
  1  no: the daemon has ended, another process answers, the capture is malformed
  2  undecided: invalid arguments, an unreadable file, no response in time";

const EXAMPLES: &str = "\
Examples:
  running-process doctor   # something is broken
  running-process ps
  running-process start cache";

const LOAD_EXIT_STATUS: &str = "\
Exit status:
  0  every request was answered, and there was at least one
  1  a request failed, PAYLOAD was answered with an error, nothing was answered, or the daemon is not the one in the identity file
  2  nothing was sent: invalid arguments, no proof in time, too few file descriptors";

const LOAD_EXAMPLES: &str = "\
Examples:
  running-process load cache --protocol 0xF0CA PING
  running-process load cache.json --protocol 0xF0CA --connections 4 --rate 1000 'GET greeting'";

const SERVE_EXAMPLES: &str = "\
Examples:
  running-process serve --socket /tmp/cache/socket --identity /tmp/cache/identity.json
  running-process serve --service cache.toml";

const SERVE_EXIT_STATUS: &str = "\
Exit status:
  0  the daemon served until it was asked to end, was idle or handed its endpoint over
  1  another process has its place
  2  it could not serve: invalid arguments, an unusable file or endpoint";

const DEMO_EXIT_STATUS: &str = "\
Exit status:
  0  everything was answered as expected, and the impostor was refused
  1  an answer was not the expected one
  2  the demo could not run: no daemon, no response in time";

const PROBE_EXAMPLES: &str = "\
Examples:
  running-process probe cache
  running-process probe cache.json --policy strict
  running-process probe /tmp/cache/socket
  running-process probe /tmp/cache/socket --write cache.json";

const PROBE_EXIT_STATUS: &str = "\
Exit status:
  0  the daemon is verified; of a socket: the kernel confirms what the process claims to be
  1  it has ended, or another process answers; of a socket: the kernel contradicts the claim, or no process listens
  2  undecided: invalid arguments, an unusable file, no usable response in time";

const CALL_EXAMPLES: &str = "\
Examples:
  running-process call cache --protocol 0xF0CA 'SET greeting hello'
  running-process call cache.json --protocol 0xF0CA < request";

const CALL_EXIT_STATUS: &str = "\
Exit status:
  0  the daemon answered, and its payload was printed
  1  it has ended, another process answers, or the request was refused
  2  undecided: invalid arguments, an unusable file, no response in time";

const TOP_EXAMPLES: &str = "\
Examples:
  running-process top cache
  running-process top cache.json --interval 200ms --count 10";

const TOP_EXIT_STATUS: &str = "\
Exit status:
  0  each interval was shown
  1  the daemon has ended, does not report its status, or another process answers
  2  undecided: invalid arguments, an unusable file, no response in time
  130  interrupted by Ctrl-C, on a terminal";

const DECODE_EXAMPLES: &str = "\
Examples:
  running-process decode capture.bin
  running-process decode < capture.bin";

const DECODE_EXIT_STATUS: &str = "\
Exit status:
  0  every frame is well-formed
  1  the capture is malformed or cut off
  2  undecided: invalid arguments, an unreadable file";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  running-process completions bash > running-process.bash
  running-process completions fish | source";

const MAN_EXAMPLE: &str = "\
Example:
  running-process man ~/.local/share/man/man1";

const PRINT_EXIT_STATUS: &str = "\
Exit status:
  0  it was printed or written
  2  it could not be written, or the arguments are invalid";

/// See, run, load, explain and mend the daemons of this user.
///
/// One Unix socket or named pipe carries a daemon's legacy wire, identity probes and framed requests. Start with
/// `running-process demo`.
#[derive(Debug, Parser)]
#[command(
    name = "running-process",
    version,
    before_help = EXAMPLES,
    after_help = EXIT_STATUS,
    propagate_version = true
)]
pub(crate) struct Cli {
    /// Print JSON instead of text, one object on each line, and errors as JSON on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a daemon and show the three kinds of traffic on its one socket.
    Demo(DemoArgs),
    /// Run the demo's daemon, an in-memory cache, in the foreground.
    Serve(ServeArgs),
    /// Serve the endpoint of a service before a daemon that speaks only its own wire.
    Front(FrontArgs),
    /// Start the daemon of a service, unless it runs.
    Start(StartArgs),
    /// Stop the daemon of a service, if it runs.
    Stop(StopArgs),
    /// Replace the daemon of a service by a new one, or start it.
    Restart(RestartArgs),
    /// Show the state of a service.
    Status(StatusArgs),
    /// Print the log of a service's daemon.
    Logs(LogsArgs),
    /// List all services: state, process, version, activity.
    Ps(PsArgs),
    /// Let the user's service manager listen for a service, and start its daemon.
    ///
    /// Writes a socket and a service unit of systemd, or the property list of launchd, and says how to enable them.
    Install(InstallArgs),
    /// Let many clients ask for the daemon of a service at once, in a directory of its own.
    ///
    /// The service gets a private directory, never that of a daemon that runs. Its daemon is ended, and the directory removed, at the
    /// end. On Linux the next stampede does that for one that was killed.
    ///
    /// Cold: nothing runs. Stale: the daemon was killed, and has cleaned up nothing. Starting: a client has begun to start the
    /// daemon, and gives up too early. Stopping: the daemon is stopped after half of the clients were released; DAEMONS is 1+1, the
    /// former and the next one.
    Stampede(StampedeArgs),
    /// Find and explain what is wrong with services, and mend what is safe to mend.
    Doctor(DoctorArgs),
    /// Verify a daemon step by step, or find out who listens at a socket.
    Probe(ProbeArgs),
    /// Send one request to a daemon and print the response's payload.
    Call(CallArgs),
    /// Send many requests to a daemon and print throughput and latencies.
    Load(LoadArgs),
    /// Show the activity of a daemon at one glance: requests, latencies, connections, limits.
    Top(TopArgs),
    /// Explain a captured stream of frames byte by byte.
    Decode(DecodeArgs),
    /// Judge a daemon in any language, rule by rule of docs/wire.md.
    Conform(ConformArgs),
    /// Print a completion script for a shell.
    #[command(before_help = COMPLETIONS_EXAMPLES, after_help = PRINT_EXIT_STATUS)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages.
    #[command(before_help = MAN_EXAMPLE, after_help = PRINT_EXIT_STATUS)]
    Man {
        /// The directory to write them to; it is created if it is missing.
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  running-process demo\n  running-process demo --keep", after_help = DEMO_EXIT_STATUS)]
pub(crate) struct DemoArgs {
    /// Leave the daemon running and print commands to try.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
#[command(
    before_help = SERVE_EXAMPLES,
    after_help = SERVE_EXIT_STATUS,
    group = ArgGroup::new("place").args(["socket", "service_file"]).required(true)
)]
pub(crate) struct ServeArgs {
    /// The endpoint: the path of a socket, or on Windows the bare name of a pipe.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, requires = "identity_file")]
    pub(crate) socket: Option<String>,
    /// The identity file to write, by which clients find the daemon at `--socket`.
    #[arg(long = "identity", value_name = "FILE", requires = "socket")]
    pub(crate) identity_file: Option<PathBuf>,
    /// The TOML file of the service whose daemon this process becomes. Clients start it with `start --file`.
    #[arg(long = "service", value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "identity_file")]
    pub(crate) service_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(before_help = PROBE_EXAMPLES, after_help = PROBE_EXIT_STATUS)]
pub(crate) struct ProbeArgs {
    /// The daemon: the name of a service, or the path of an identity file. An argument with a `/`, or that is a file, is a path.
    /// The process at the path of a socket is asked what it claims to be, and the kernel whether that is true.
    #[arg(id = "identity_file", value_name = "NAME|FILE|SOCKET", value_hint = ValueHint::AnyPath)]
    pub(crate) target: PathBuf,
    /// Take the argument for an endpoint, whatever is there: on Windows the bare name of a pipe.
    #[arg(long)]
    pub(crate) socket: bool,
    /// Write what the process at the socket claims to be to an identity file, if the kernel confirms it.
    ///
    /// `ps` also lists the daemons of the identity files `identities/*.json` in the configuration directory.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) write: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) deadline: DeadlineArg,
    /// The proof to require.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

/// A daemon and the payload protocol of the requests to it.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The daemon: the name of a service, or the path of an identity file. An argument with a `/`, or that is a file, is a path.
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) identity_file: PathBuf,
    /// The payload protocol of the requests, decimal or hexadecimal, for example 0xF0CA.
    #[arg(long, value_name = "ID", value_parser = payload_protocol)]
    pub(crate) protocol: u32,
    /// The proof to require.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

#[derive(Debug, Args)]
#[command(before_help = CALL_EXAMPLES, after_help = CALL_EXIT_STATUS)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The request's payload; without it, standard input is read.
    pub(crate) payload: Option<String>,
    #[command(flatten)]
    pub(crate) deadline: DeadlineArg,
}

#[derive(Debug, Args)]
pub(crate) struct DeadlineArg {
    /// The time limit for proof and response together, for example 300ms or 10s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyName {
    /// The kernel names the daemon as the peer. An executable replaced on disk and identity files of older daemons are accepted.
    Default,
    /// Every step is proven.
    Strict,
    /// The proof that every platform and every service manager can provide.
    Lenient,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::Lenient => "lenient",
        })
    }
}

#[derive(Debug, Args)]
#[command(before_help = LOAD_EXAMPLES, after_help = LOAD_EXIT_STATUS)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The payload of every request, or `-` for standard input; without it, `--size` bytes.
    #[arg(conflicts_with = "size")]
    pub(crate) payload: Option<String>,
    /// The size of every payload, for example 64, 16KiB or 1MiB.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = payload_size)]
    pub(crate) size: usize,
    /// The beginning of a response that is an error of the daemon's protocol; that of the demo's cache is `-`.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) error_prefix: Option<String>,
    /// The number of connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number::<u32>(1..=100_000))]
    pub(crate) connections: u32,
    /// The largest number of requests in flight on each connection.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number::<u32>(1..=10_000))]
    pub(crate) in_flight: u32,
    /// The number of requests; with `--duration`, the load ends at whichever is reached first.
    #[arg(long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX))]
    pub(crate) requests: Option<u64>,
    /// The duration of the measurement; without it and without `--requests`, 5s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// The duration of a warm-up, which is not measured; 0s for none.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration_or_none)]
    pub(crate) warm_up: Duration,
    /// The number of requests per second, sent whether or not earlier ones are answered.
    ///
    /// A latency counts from the time at which its request was due, so a stall of the daemon shows in every request that
    /// was due meanwhile. At most connections times in-flight requests wait for responses at once; without a rate,
    /// exactly as many do.
    #[arg(long, value_name = "R", value_parser = number::<u32>(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// The time limit of each request, from when it is sent.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// The time limit for the proof and all connections.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
    #[command(flatten)]
    pub(crate) chart: ChartArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ChartArgs {
    /// Draw charts in ASCII, as is done anyway if the locale is not UTF-8 or TERM is "dumb".
    #[arg(long)]
    ascii: bool,
}

impl ChartArgs {
    /// Returns the characters of charts.
    pub(crate) fn glyphs(&self) -> Glyphs {
        Glyphs::choose(self.ascii)
    }
}

#[derive(Debug, Args)]
#[command(before_help = TOP_EXAMPLES, after_help = TOP_EXIT_STATUS)]
pub(crate) struct TopArgs {
    /// The daemon: the name of a service, or the path of an identity file. An argument with a `/`, or that is a file, is a path.
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) identity_file: PathBuf,
    /// The time between two status requests.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// The number of intervals; without it, the command ends with the daemon.
    #[arg(long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX))]
    pub(crate) count: Option<u64>,
    /// Show the totals since the daemon began to serve, and end.
    #[arg(long, conflicts_with_all = ["count", "interval"])]
    pub(crate) once: bool,
    /// The payload protocol of status requests.
    #[arg(long, value_name = "ID", value_parser = payload_protocol, default_value = "0xFFFF")]
    pub(crate) protocol: u32,
    /// The time limit of the proof, and of each response.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
    /// The proof to require.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
    #[command(flatten)]
    pub(crate) chart: ChartArgs,
}

#[derive(Debug, Args)]
#[command(before_help = DECODE_EXAMPLES, after_help = DECODE_EXIT_STATUS)]
pub(crate) struct DecodeArgs {
    /// The file with the captured bytes; without it, or with `-`, standard input is read.
    pub(crate) file: Option<PathBuf>,
}

/// Parses the arguments of this process.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let mut command = help::fitted(Cli::command(), help::width());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = command
        .try_get_matches_from_mut(&arguments)
        .map_err(|error| escaped(error, &mut command, &arguments))
        .map_err(tips::with_tip)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Returns the error as it is with every hostile character of the arguments escaped. It quotes them between its own styles, from which
/// those of an argument could not be told apart.
fn escaped(error: clap::Error, command: &mut clap::Command, arguments: &[OsString]) -> clap::Error {
    let safe_arguments = arguments.iter().map(|argument| safe(argument.display()).to_string());
    if !error.use_stderr()
        || arguments.iter().all(|argument| !argument.to_string_lossy().contains(is_hostile))
    {
        return error;
    }
    match command.try_get_matches_from_mut(safe_arguments) {
        Err(again) if again.kind() == error.kind() => again,
        // The character itself is the error.
        _ => clap::Error::raw(error.kind(), format!("{}\n", safe(error))),
    }
}

/// Prints the error in the arguments, as JSON if they have `--json`; or prints the requested help.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let is_json = arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if !error.use_stderr() {
        let mut output = Output::new(false);
        let printed = output.part(error.render().ansi()).and_then(|()| output.flush());
        return printed.map_or_else(|failure| failure.print(false), |()| ExitCode::SUCCESS);
    }
    if is_json {
        let (message, hint) = summary(error);
        return Failure::usage(message).hint(hint).print(true);
    }
    // If standard error cannot be written either, only the exit status reports the error.
    let _unreported = io::stderr().write_all(for_stderr(&error.render().ansi().to_string()).as_bytes());
    Verdict::Undecided.into()
}

/// Returns the message and the hint of an error: its first paragraph, and its tip or else the usage.
fn summary(error: &clap::Error) -> (String, String) {
    let text = error.render().to_string();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = |name: &str| text.lines().find_map(|line| line.trim_start().strip_prefix(name));
    let message = match text.strip_prefix("error: ") {
        Some(text) => words(text.split("\n\n").next().unwrap_or_default()),
        None => "a command is missing".to_owned(),
    };
    let hint = line("tip: ").or_else(|| line("Usage: ").filter(|usage| !usage.is_empty()));
    let hint = hint.map_or_else(|| "see --help".to_owned(), words);
    (message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
