//! The arguments and the help of all commands.

use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::for_stderr;
use crate::verdict::Verdict;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use running_process::broker::protocol::MAX_FRAME_BYTES;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXIT_STATUS: &str = "\
Exit status:
  0  yes: the command succeeded, the daemon is verified, the capture is well-formed
  1  no: the daemon has ended, another process answers, the capture is malformed
  2  undecided: invalid arguments, an unreadable file, no response in time";

const LOAD_EXIT_STATUS: &str = "\
Exit status:
  0  every request was answered, and there was at least one
  1  a request failed, none was answered, or the daemon is not the one in the identity file
  2  nothing was sent: invalid arguments, no proof in time, too few file descriptors";

/// Try, serve, probe, call, load, watch and decode a local daemon's endpoint.
///
/// One Unix socket or named pipe carries a daemon's legacy wire, identity probes and framed requests. Start with
/// `running-process demo`.
#[derive(Debug, Parser)]
#[command(
    name = "running-process",
    version,
    after_help = EXIT_STATUS,
    propagate_version = true,
    max_term_width = 120
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
    /// Verify the daemon in an identity file.
    Probe(ProbeArgs),
    /// Send one request to the daemon in an identity file and print the response's payload.
    Call(CallArgs),
    /// Send many requests to the daemon in an identity file and print throughput and latencies.
    Load(LoadArgs),
    /// Show the activity of the daemon in an identity file: requests, latencies, connections, limits.
    Top(TopArgs),
    /// Explain a captured stream of frames byte by byte.
    Decode(DecodeArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages.
    Man {
        /// The directory to write them to; it is created if it is missing.
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the daemon running and print commands to try.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The endpoint: the path of a socket, or on Windows the bare name of a pipe.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) socket: String,
    /// The identity file to write, by which clients find the daemon.
    #[arg(long = "identity", value_name = "FILE")]
    pub(crate) identity_file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The daemon's identity file.
    #[arg(value_name = "FILE")]
    pub(crate) identity_file: PathBuf,
    #[command(flatten)]
    pub(crate) deadline: DeadlineArg,
    /// The proof to require.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

/// A daemon and the payload protocol of the requests to it.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The daemon's identity file.
    #[arg(value_name = "FILE")]
    pub(crate) identity_file: PathBuf,
    /// The payload protocol of the requests, decimal or hexadecimal, for example 0xF0CA.
    #[arg(long, value_name = "ID", value_parser = payload_protocol)]
    pub(crate) protocol: u32,
    /// The proof to require.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

#[derive(Debug, Args)]
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
#[command(after_help = LOAD_EXIT_STATUS)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The payload of every request, or `-` for standard input; without it, `--size` bytes.
    #[arg(conflicts_with = "size")]
    pub(crate) payload: Option<String>,
    /// The size of every payload, for example 64, 16KiB or 1MiB.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = payload_size)]
    pub(crate) size: usize,
    /// The number of connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// The largest number of requests in flight on each connection.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// The number of requests; with `--duration`, the load ends at whichever is reached first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
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
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// The time limit of each request, from when it is sent.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// The time limit for the proof and all connections.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The daemon's identity file.
    #[arg(value_name = "FILE")]
    pub(crate) identity_file: PathBuf,
    /// The time between two status requests.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// The number of intervals; without it, the command ends with the daemon.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
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
}

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The file with the captured bytes; without it, or with `-`, standard input is read.
    pub(crate) file: Option<PathBuf>,
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

fn payload_protocol(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a payload protocol is a number, for example 61642 or 0xF0CA".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_none(text)? {
        Duration::ZERO => Err("the duration must be longer than 0s".to_owned()),
        duration => Ok(duration),
    }
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    /// A year, which every system's clock can add to the current time.
    const LONGEST: Duration = Duration::from_hours(365 * 24);
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("the longest duration is 365 days".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; examples are 300ms and 10s")),
    }
}

fn payload_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err("a size is a number of bytes, for example 64, 16KiB or 1MiB".to_owned()),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "a size is a number of bytes, for example 64, 16KiB or 1MiB".to_owned())?;
    match number.checked_mul(unit) {
        Some(size) if size <= MAX_FRAME_BYTES => Ok(size),
        _ => Err(format!("a frame carries at most {MAX_FRAME_BYTES} bytes, envelope included")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_protocol_is_decimal_or_hexadecimal() {
        assert_eq!(payload_protocol("0xF0CA"), Ok(0xF0CA));
        assert_eq!(payload_protocol("61642"), Ok(0xF0CA));
        for wrong in ["", "0x", "F0CA", "-1", "0x1_0000", "4294967296"] {
            assert!(payload_protocol(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_deadline_has_a_unit_and_is_not_zero() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert!(duration("0s").is_err());
        assert!(duration("fast").is_err());
        assert!(duration("366days").is_err());
        assert_eq!(duration_or_none("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_size_is_in_bytes_or_in_powers_of_two_and_fits_a_frame() {
        assert_eq!(payload_size("0"), Ok(0));
        assert_eq!(payload_size("64B"), Ok(64));
        assert_eq!(payload_size("3KiB"), Ok(3072));
        assert_eq!(payload_size("16MiB"), Ok(MAX_FRAME_BYTES));
        for wrong in
            ["", "KiB", "1 KiB", "1KB", "1k", "-1", "1.5MiB", "17MiB", "1GiB", "18446744073709551615MiB"]
        {
            assert!(payload_size(wrong).is_err(), "{wrong}");
        }
    }
}
