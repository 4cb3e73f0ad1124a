//! Arguments and help, in one place.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_STATUS: &str = "\
Exit status:
  0  yes: it worked, the daemon is the recorded one, the capture is well-formed
  1  no: another process answers, nobody does, the capture is malformed
  2  could not tell: bad arguments, an unreadable file, no answer in time";

/// Try, serve, probe, call and decode a local daemon's endpoint.
///
/// One Unix socket or named pipe carries a daemon's own wire, identity probes and framed requests. Start with
/// `running-process demo`.
#[derive(Debug, Parser)]
#[command(name = "running-process", version, after_help = EXIT_STATUS, propagate_version = true)]
pub(crate) struct Cli {
    /// Print JSON, one object a line, each with a `schema_version`.
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
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: String,
    /// Where to write the identity file that clients find the daemon by.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The daemon's identity file.
    #[arg(value_name = "FILE")]
    pub(crate) identity: PathBuf,
    #[command(flatten)]
    pub(crate) deadline: DeadlineArg,
    /// What is accepted as proof.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The daemon's identity file.
    #[arg(value_name = "FILE")]
    pub(crate) identity: PathBuf,
    /// The payload protocol's id, decimal or hexadecimal, for example 0xF0CA.
    #[arg(long, value_name = "ID", value_parser = payload_protocol)]
    pub(crate) protocol: u32,
    /// The request's payload; without it, standard input is.
    pub(crate) payload: Option<String>,
    #[command(flatten)]
    pub(crate) deadline: DeadlineArg,
    /// What is accepted as proof.
    #[arg(long, value_enum, default_value_t = PolicyName::Default)]
    pub(crate) policy: PolicyName,
}

#[derive(Debug, Args)]
pub(crate) struct DeadlineArg {
    /// How long everything may take, for example 300ms or 10s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyName {
    /// The kernel names the daemon; an executable replaced on disk and records of older daemons are accepted.
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
pub(crate) struct DecodeArgs {
    /// The captured bytes; without it, or with `-`, standard input.
    pub(crate) file: Option<PathBuf>,
}

fn payload_protocol(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a payload protocol is a number such as 61642 or 0xF0CA".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a deadline is longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write for example 300ms or 10s")),
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
    }
}
