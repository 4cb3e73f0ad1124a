//! The arguments of `conform`.

use super::values::{duration, payload_protocol};
use clap::{ArgGroup, Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  running-process conform --socket /run/user/1000/build.sock
  running-process conform --junit report.xml -- ./build-daemon --listen {socket}
  running-process conform --list";

const EXIT_STATUS: &str = "\
Exit status:
  0  no case of the severity `must` failed, but for those that --expect lists
  1  one failed
  2  undecided: invalid arguments, no daemon at the socket, one that did not start
  130  interrupted by Ctrl-C; the daemon of COMMAND has ended";

#[derive(Debug, Args)]
#[command(
    before_help = EXAMPLES,
    after_help = EXIT_STATUS,
    group = ArgGroup::new("daemon").args(["socket", "command", "list"]).required(true).multiple(true)
)]
pub(crate) struct ConformArgs {
    /// Judge a client: COMMAND is run once for each case, sends the request `echo hello` under the protocol to the daemon at `{socket}`,
    /// and prints the payload of the answer, or exits with another status than 0 if it gets none.
    #[arg(long, conflicts_with_all = ["socket", "identity_file"])]
    pub(crate) client: bool,
    /// The path of the daemon's socket; with COMMAND, the one at which it is to serve.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) socket: Option<PathBuf>,
    /// The daemon's identity file, to be compared with what the daemon answers.
    #[arg(long = "identity", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity_file: Option<PathBuf>,
    /// The payload protocol under which the daemon serves the conformance protocol of docs/wire.md; without it 0xF0C0 is tried, and
    /// cases that need it are skipped if it is not served.
    #[arg(long, value_name = "ID", value_parser = payload_protocol)]
    pub(crate) protocol: Option<u32>,
    /// Run only the cases whose name matches, such as `probe-*`; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Vec<String>,
    /// Leave out the cases whose name matches; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub(crate) skip: Vec<String>,
    /// A TOML file of cases that are known to fail, each with the reason: `case-name = "reason"`.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) expect: Option<PathBuf>,
    /// Write the results to a file as JUnit XML, which CI systems show.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) junit: Option<PathBuf>,
    /// The time limit of each case, and of the start of the daemon.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Show the bytes that each failed case sent, expected and received.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Print the cases and run none.
    #[arg(long, conflicts_with_all = ["command", "socket"])]
    pub(crate) list: bool,
    /// The command that starts the daemon in the foreground. In its arguments `{socket}` is replaced by the path of the socket, and
    /// `{identity}` by that of the identity file, as in the variables `RUNNING_PROCESS_CONFORM_SOCKET` and `_IDENTITY`.
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}
