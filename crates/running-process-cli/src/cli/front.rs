//! The arguments of `front`.

use clap::{Args, ValueHint};
use std::path::PathBuf;

const EXIT_STATUS: &str = "\
Exit status:
  0  it served until it was asked to end, or was idle
  1  it does not serve, or ended, because of the fronted daemon: that did not start, or ended; or another daemon runs
  2  undecided: invalid arguments, an unusable file";

#[derive(Debug, Args)]
#[command(before_help = "Example:\n  running-process front --service redis.toml", after_help = EXIT_STATUS)]
pub(crate) struct FrontArgs {
    /// The TOML file of the service, with a table `front`. Clients start it with `start --file`.
    #[arg(long = "service", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) service_file: PathBuf,
}
