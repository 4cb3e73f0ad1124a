//! The arguments of `install`.

use super::service::ServiceArg;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  running-process install cache
  running-process install cache --print
  running-process install cache --remove";

const EXIT_STATUS: &str = "\
Exit status:
  0  the units were written, printed or removed
  1  a file in their place is not this command's: it was left alone
  2  undecided: invalid arguments, an unusable file, a system without such a service manager";

#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, after_help = EXIT_STATUS)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Remove the units that this command has written.
    #[arg(long, conflicts_with = "print")]
    pub(crate) remove: bool,
    /// Print the units, and write nothing.
    #[arg(long)]
    pub(crate) print: bool,
}
