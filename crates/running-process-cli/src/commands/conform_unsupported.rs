//! `conform`, where there are no Unix-domain sockets.

use crate::cli::ConformArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;

pub(super) fn run(_arguments: &ConformArgs, _output: &mut Output) -> Result<Verdict, Failure> {
    Err(Failure::undecided("`conform` speaks through Unix-domain sockets, which this system does not have")
        .kind("unsupported"))
}
