//! `decode`: a captured stream of frames, byte by byte.

use crate::cli::DecodeArgs;
use crate::failure::{Failure, Verdict};
use crate::output::Output;

pub(super) fn run(_arguments: &DecodeArgs, _output: &mut Output) -> Result<Verdict, Failure> {
    unimplemented!()
}
