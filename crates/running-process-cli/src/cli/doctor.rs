//! The arguments of `doctor`.

use super::values::{duration, number};
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  running-process doctor
  running-process doctor cache
  running-process doctor cache --fix";

const EXIT_STATUS: &str = "\
Exit status:
  0  nothing is wrong; there may be notes
  1  errors or warnings were found
  2  it cannot be told from here, or the arguments are invalid";

/// Find and explain what is wrong with services, and mend what is safe to mend.
///
/// Each finding says what is, why it matters and what to do. Without --fix nothing is started, stopped or changed.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, after_help = EXIT_STATUS)]
pub(crate) struct DoctorArgs {
    /// The service; without it, all services.
    pub(crate) name: Option<String>,
    /// The service's TOML file, wherever it is.
    #[arg(long = "file", value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "name")]
    pub(crate) service_file: Option<PathBuf>,
    /// Do what is safe about the findings, and show each change before it is made.
    #[arg(long)]
    pub(crate) fix: bool,
    /// With --fix: end this process, if it listens at a socket of a service to which no path leads any more.
    #[arg(long, value_name = "PID", requires = "fix", value_parser = number::<u32>(1..=u32::MAX.into()))]
    pub(crate) end: Option<u32>,
    /// The time limit for all services together, for example 300ms or 10s.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) deadline: Duration,
}
