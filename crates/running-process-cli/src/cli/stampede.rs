//! The arguments of `stampede`.

use super::service::ServiceArg;
use super::values::{duration, number};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  running-process stampede cache
  running-process stampede --file cache.toml --clients 50";

const EXIT_STATUS: &str = "\
Exit status:
  0  every client was served, and never by two daemons at once
  1  a client was not served, or two daemons ran at once
  2  undecided: invalid arguments, an unusable file, a machine that cannot run so many clients
  130  interrupted by Ctrl-C; the daemon has ended and the directory is gone";

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, after_help = EXIT_STATUS)]
pub(crate) struct StampedeArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// The number of clients, each a process.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = number::<u32>(1..=10_000))]
    pub(crate) clients: u32,
    /// The time for which a daemon that starts may be silent; each client waits five seconds longer.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Makes this process one of the clients, of the service in this root.
    #[arg(long, hide = true)]
    pub(crate) client_of: Option<PathBuf>,
    /// The time limit of a client.
    #[arg(long, hide = true, default_value = "35s", value_parser = duration)]
    pub(crate) deadline: Duration,
}
