//! The outcome of a verification.

use super::file::FileId;
use super::proof::{Proof, Step};
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::sys::ProcessHandle;
use crate::transport::LocalStream;

/// A daemon that proved itself.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) proof: Proof,
    pub(crate) process: ProcessHandle,
    /// The file of the image, if it was inspected and the system leads to the running one.
    pub(crate) image: Option<FileId>,
    pub(crate) stream: LocalStream,
}

/// A daemon that did not prove itself, with the steps that were taken.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unverified {
    /// The reason why there is no proof.
    pub error: ProbeError,
    /// The steps that were taken; the last one is the refused one, unless the error came before the first.
    pub steps: Vec<Step>,
}
