//! Arguments and help, in one place.

use crate::failure::{Failure, Verdict};
use crate::output::{Output, for_stderr};
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
  0  yes: it worked, the daemon in the identity file answers, the capture is well-formed
  1  no: another process answers, nobody does, the capture is malformed
  2  could not tell: bad arguments, an unreadable file, no answer in time";

const LOAD_EXIT_STATUS: &str = "\
Exit status:
  0  every request was answered, and there was at least one
  1  a request failed, none was answered, or another process answers
  2  nothing was sent: bad arguments, no proof in time, too few file descriptors";

/// Try, serve, probe, call, load, watch and decode a local daemon's endpoint.
///
/// One Unix socket or named pipe carries a daemon's own wire, identity probes and framed requests. Start with
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
    /// Print JSON, one object a line, each with a `schema_version`; errors too, on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a real daemon and show the three kinds of traffic on its one socket.
    Demo(DemoArgs),
    /// Run the demo's daemon, an in-memory cache, in the foreground.
    Serve(ServeArgs),
    /// Check whether the daemon in an identity file is the one that answers.
    Probe(ProbeArgs),
    /// Send one request to the daemon in an identity file and print the response's payload.
    Call(CallArgs),
    /// Send many requests to the daemon in an identity file and print throughput and latencies.
    Load(LoadArgs),
    /// Watch what the daemon in an identity file does: requests, latencies, connections, limits.
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
        /// The directory to write them to; it is made if it is missing.
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the daemon running and print commands to try on it.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen: a socket's path, or on Windows a pipe's bare name.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) socket: String,
    /// Where to write the identity file that clients find the daemon by.
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
    /// What is accepted as proof.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

/// The daemon that is asked, and the payload protocol that it is asked in.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The daemon's identity file.
    #[arg(value_name = "FILE")]
    pub(crate) identity_file: PathBuf,
    /// The payload protocol's id, decimal or hexadecimal, for example 0xF0CA.
    #[arg(long, value_name = "ID", value_parser = payload_protocol)]
    pub(crate) protocol: u32,
    /// What is accepted as proof.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The request's payload; without it, standard input is.
    pub(crate) payload: Option<String>,
    #[command(flatten)]
    pub(crate) deadline: DeadlineArg,
}

#[derive(Debug, Args)]
pub(crate) struct DeadlineArg {
    /// How long everything may take, for example 300ms or 10s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyName {
    /// The kernel names the daemon; an executable replaced on disk and identity files of older daemons are accepted.
    Default,
    /// The most that can be proven, and nothing less.
    Strict,
    /// What every platform and every service manager can give.
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
    /// Every request's payload, or `-` for standard input; without it, `--size` bytes of filler.
    #[arg(conflicts_with = "size")]
    pub(crate) payload: Option<String>,
    /// How large every request's payload is, for example 64, 16KiB or 1MiB.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = payload_size)]
    pub(crate) size: usize,
    /// How many connections to open.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// How many requests each connection has in flight at most.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// Send this many requests; with `--duration`, whichever ends first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// For how long to send requests; without it and without `--requests`, 5s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// For how long to send requests that are not measured, before those that are; 0s for none.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration_or_none)]
    pub(crate) warm_up: Duration,
    /// Send this many requests a second, answered or not; latencies count from when each was due.
    ///
    /// A daemon that stalls then shows in the latency of every request that was due meanwhile. No more than
    /// connections times in-flight wait for their answers at once; without a rate, exactly as many do.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// How long each request may take, from when it is sent.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How long the proof and the connections may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The daemon's identity file.
    #[arg(value_name = "FILE")]
    pub(crate) identity_file: PathBuf,
    /// How often to ask the daemon.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// End after this many intervals; without it, with the daemon.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Ask once, about all the time since the daemon began to serve.
    #[arg(long, conflicts_with_all = ["count", "interval"])]
    pub(crate) once: bool,
    /// The payload protocol of status requests, where the daemon has moved it.
    #[arg(long, value_name = "ID", value_parser = payload_protocol, default_value = "0xFFFF")]
    pub(crate) protocol: u32,
    /// How long the proof may take, and each answer.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
    /// What is accepted as proof.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The captured bytes; without it, or with `-`, standard input.
    pub(crate) file: Option<PathBuf>,
}

/// Prints the error in the arguments, as JSON if they ask for that; or prints the help that they ask for.
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
    let _unsaid = io::stderr().write_all(for_stderr(&error.render().ansi().to_string()).as_bytes());
    Verdict::Undecided.into()
}

/// Returns the message and the hint: the first paragraph, and the tip or else the usage.
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
    parsed.map_err(|_| "a payload protocol is a number such as 61642 or 0xF0CA".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_none(text)? {
        Duration::ZERO => Err("a duration here is longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    /// A clock can be that far ahead on every system.
    const LONGEST: Duration = Duration::from_hours(365 * 24);
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("a year is the longest".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write for example 300ms or 10s")),
    }
}

fn payload_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err("a size is a number of bytes such as 64, 16KiB or 1MiB".to_owned()),
    };
    let number: usize =
        digits.parse().map_err(|_| "a size is a number of bytes such as 64, 16KiB or 1MiB".to_owned())?;
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
